"""Policies decide whether to dispatch a request now, let it wait, or drop it.

A policy is pure: it has no clock, does no I/O, and imports nothing of the planner, the simulator or the server. Read
``policy`` (what a policy is), ``table`` (what it knows of the fleet), ``routed_policy`` (the policy as an object), then
``rules`` (how each rule chooses) and ``mechanism`` (what all rules use). ``state`` has the arrays behind them.
"""
