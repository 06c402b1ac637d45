"""Profiles: how long each block of a model takes, on each device class, share and batch."""

DEFAULT_BLOCKS = 10
"""The most blocks into which a model is cut if nobody says how many."""
