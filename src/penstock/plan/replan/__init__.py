"""Replanning: the best plan for a changed scenario, within a number of moves."""
