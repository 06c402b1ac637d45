"""Graphs as partitioning problems, one format a module; :mod:`.read` tells files apart."""
