"""Verbs that read and write files of other formats: ``import``, ``export``, ``traffic``."""
