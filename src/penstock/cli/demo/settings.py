"""The demonstration's constants, each with its reason."""

from __future__ import annotations

MODEL = "densenet121"
"""A real network whose layers differ in arithmetic per byte, so that classes differ by block; and slow enough
(60 ms on one core) that parsing and passing on 600 KB of input is little beside it."""

FAST, SLOW = "fast", "slow"
"""``fast`` is this machine's CPU, one thread; ``slow`` is the same, held to a table of longer times."""

SLOW_COUNT = 2
"""One fast device and two slow ones: what all three compute fits two cores, with room for the rest."""

ROOFLINE_HIGH, ROOFLINE_LOW, ROOFLINE_BATCH = "A100", "P4", 16
"""The slow class is to the fast one, block by block, what a P4 is to an A100 by the roofline at a batch
that keeps both busy: three to four times slower on the last blocks, eleven times on the first."""

SLO_FACTOR = 12
"""The SLO over the whole model's latency on ``fast``. Pools of one or two devices queue long at 0.8 of
their rate (M/D/1: the 99th percentile waits about ten services), so the objective has to leave room."""

SLO_MARGIN = 0.75
"""The share of the SLO kept for that queueing."""

LOAD = 0.8
"""Offered rate over planned rate."""

SERVE_SECONDS = 20.0
CALIBRATE_SECONDS = 5.0
CALIBRATE_LOAD = 0.2
"""A light load first: it warms the server and shows what a request costs outside the workers."""

PROFILE_SECONDS = 40.0
MAX_BATCH = 2
BANDWIDTH_GBPS = 10.0
