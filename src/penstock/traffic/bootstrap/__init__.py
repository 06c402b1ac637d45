"""Whole streams of the trace, drawn again."""
