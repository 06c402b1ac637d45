"""Policies: dispatch now, wait, or drop. Pure decisions; no clock, no I/O, no other station."""
