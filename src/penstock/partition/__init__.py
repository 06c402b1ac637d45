"""Partitioning: the choice of contiguous pieces of a model, with a proof of how good the choice is."""
