"""The demonstration's constants, each with its reason."""

from __future__ import annotations

MODEL = "densenet121"
"""A real network. Its layers differ in arithmetic per byte, so classes differ by block. It is also slow enough
(60 ms on one core) that the time to parse and forward 600 KB of input is small in comparison."""

FAST, SLOW = "fast", "slow"
"""``fast`` is this machine's CPU with one thread. ``slow`` is the same, slowed down to a table of longer times."""

SLOW_COUNT = 2
"""One fast device and two slow ones. Their computation together fits two cores, and some time remains."""

ROOFLINE_HIGH, ROOFLINE_LOW, ROOFLINE_BATCH = "A100", "P4", 16
"""Per block, the slow class compares with the fast one as a P4 compares with an A100, by the roofline at a batch
that keeps both busy. It is three to four times slower on the last blocks and eleven times on the first."""

SLO_FACTOR = 12
"""The SLO divided by the whole model's latency on ``fast``. Pools of one or two devices have long queues at 0.8 of
their rate (M/D/1: the 99th percentile waits about ten services), so the objective must leave time for that."""

SLO_MARGIN = 0.75
"""The share of the SLO that is kept for that queueing."""

LOAD = 0.8
"""Offered rate divided by planned rate."""

SERVE_SECONDS = 20.0
CALIBRATE_SECONDS = 5.0
CALIBRATE_LOAD = 0.2
"""First a light load: it warms up the server and shows what a request costs outside the workers."""

PROFILE_SECONDS = 40.0
MAX_BATCH = 2
BANDWIDTH_GBPS = 10.0
