"""Profiles: how long each block of a model takes, on each device class, share and batch."""
