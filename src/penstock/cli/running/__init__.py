"""Verbs that run a plan, send load, or show what ran: ``simulate``, ``sweep``, ``serve``, ``load``, ``report``."""
