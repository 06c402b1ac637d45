"""Generators of streams: fitted to a trace, saved as a bundle, sampled with a seed."""
