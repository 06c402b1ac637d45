"""Bounds by levels of work: intervals of the work before a boundary, the cheapest block between two of them, and the
best path. See :mod:`.level_bound`.
"""
