"""Verbs about one model: ``zoo``, ``profile``, ``partition``."""
