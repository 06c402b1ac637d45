"""Gateways on hosts other than the head's.

``at_head`` is the head's part: it passes on what the engine decides. ``at_agent`` is the part of the agent of a host:
it starts and watches the gateways there. ``row_copies`` and ``counter_copies`` bring rows of the record to the head,
and counters to whoever answers ``/metrics``.
"""
