"""The names of policies, for options: a verb's help must not load the simulator. A test holds them current."""

from __future__ import annotations

from penstock.schedule.rules import RULES

ROUTED = tuple(RULES)
"""Policies that reserve a whole route for each batch: for the server and the closed loop."""

STAGEWISE = ("reactive",)
"""Policies that decide stage by stage: only simulated."""

POLICIES = (*ROUTED, *STAGEWISE)
