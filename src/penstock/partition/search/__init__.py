"""Searches for good partitions: orders, slicing, local moves, genetic keys, ideals."""
