"""Trace files of several origins: one module a format, each a stream of checked chunks."""
