"""Streams without memory: the baseline that knows rates and shares alone."""
