"""Bounds that need a solver: the programs, and how several of them run at the same time."""
