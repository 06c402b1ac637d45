"""Verbs about plans: ``plan``, ``explain``, ``diff``, ``replan``, ``capacity``, ``compare``."""
