"""The loads of part (b): a recording without streams, by time, in two folds.

In even runs the first half is the real load and the second the other one; in odd runs it is the other way round.
What is fitted is fitted on the half that is not the real one. Every load is folded to the rate alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from penstock.simulate.decisive.contestants import Contestant
from penstock.traffic.processes.replay import TraceReplay
from penstock.traffic.source.empirical_gaps import EmpiricalGaps
from penstock.traffic.trace import Trace, closed_to_a_circle

MakeTrace = Callable[[Trace, int], Trace]
"""A trace generated, with a seed, from a model fitted to the given one."""
REALISATIONS = 10
"""Traces of one kind, which take turns in the runs: a single one may be lucky."""


def halves(trace: Trace) -> tuple[Trace, Trace]:
    """The two halves of the period."""
    middle = trace.period_us // 2
    first, second = trace.time_us[trace.time_us < middle], trace.time_us[trace.time_us >= middle]
    return closed_to_a_circle(first, {}), closed_to_a_circle(second, {})


def aggregate_contestants(
    trace: Trace, generated: Mapping[str, MakeTrace], fold: int
) -> tuple[Contestant, list[Contestant]]:
    """The real load, half ``fold`` (0 or 1), and those that meet it: the other half, its gaps, what is made of it."""
    real, other = halves(trace)[:: 1 if fold == 0 else -1]
    return Contestant("real half", "real", [_folded(real)]), [
        Contestant("other real half", "other real", [_folded(other)]),
        Contestant("shuffled gaps", "shuffled", _realised(shuffled_trace, other)),
        *(Contestant(name, "generated", _realised(make, other)) for name, make in generated.items()),
    ]


def renewal_trace(trace: Trace, seed: int) -> Trace:
    """A trace as long as ``trace``, its gaps drawn anew from those of ``trace``: generated without a network."""
    rng = np.random.default_rng([seed, 11])
    times_us = EmpiricalGaps.of(trace.time_us)(trace.rate_rps, trace.period_us / 1e6, rng)
    return closed_to_a_circle(times_us, {})


def shuffled_trace(trace: Trace, seed: int) -> Trace:
    """The gaps of ``trace`` in another order."""
    gaps_us = np.random.default_rng(seed).permutation(np.diff(trace.time_us))
    return closed_to_a_circle(np.concatenate([[0], np.cumsum(gaps_us)]), {})


def _realised(make: MakeTrace, trace: Trace) -> list[TraceReplay]:
    return [_folded(make(trace, seed)) for seed in range(REALISATIONS)]


def _folded(trace: Trace) -> TraceReplay:
    return TraceReplay(trace, "fold")
