"""Graphs as partitioning problems, one format per module. :mod:`.read` recognises the format of a file."""
