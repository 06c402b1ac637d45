"""Models in segments: how they run, and what cutting them costs."""
