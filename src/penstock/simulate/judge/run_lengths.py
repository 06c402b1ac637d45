"""How long to simulate: from the load's index of dispersion.

Over runs of length T the number of arrivals has mean ``rate * T`` and variance ``I * rate * T``; ``I`` is the index of
dispersion (1 for Poisson arrivals; for real traces it grows with T). If the mean load of a run is off by a share, so is
about the rate that a plan seems to hold. So n runs tell plans apart to ``sqrt(I / (rate * T * n))``, whatever the
policy does (Fendick and Whitt, "Measurements and approximations to describe the offered traffic and predict the average
workload in a single-server queue", Proceedings of the IEEE 1989).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.simulate.judge.trial import Trial

SEARCH_ERROR, FINAL_ERROR = 0.008, 0.0025
"""The relative standard error that the search and the last judge aim at. Plans of one search differ by per cents."""

SEARCH_RUNS, MIDDLE_RUNS, FINAL_RUNS = 2, 6, 16
"""Runs of the search for smooth loads, of the judge in the middle, and of the last judge and of the verification."""

MOST_SEARCH_RUNS = 4
SHORTEST_S, LONGEST_S = 10.0, 20.0
"""Of a run. Bursts are met by many runs rather than by long ones."""

FIRST_FINAL_SEED = 100
"""Seeds from here on are for the verification. The search never uses them."""


@dataclass(frozen=True)
class Judging:
    """Trials of the search, from the quickest to the most certain, and the one that verifies. Seeds are nested, so that
    plans meet common random numbers.

    ``dispersion``: of the model where ``dispersion / rate`` is largest.
    """

    search: Trial
    middle: Trial
    last: Trial
    fresh: Trial
    dispersion: float


def judging(trial: Trial, rates_rps: Sequence[float]) -> Judging:
    """The trials for a load near ``rates_rps``, with all else as in ``trial``."""
    index, worst = dispersion(trial, rates_rps)
    search_s = worst / SEARCH_ERROR**2
    runs = min(max(SEARCH_RUNS, math.ceil(search_s / LONGEST_S)), MOST_SEARCH_RUNS)
    final_s = min(max(worst / FINAL_ERROR**2 / FINAL_RUNS, SHORTEST_S), LONGEST_S)
    quick = replace(trial, seconds=min(max(search_s / runs, SHORTEST_S), final_s), seeds=tuple(range(runs)))
    return Judging(
        search=quick,
        middle=replace(trial, seconds=final_s, seeds=tuple(range(MIDDLE_RUNS))),
        last=replace(trial, seconds=final_s, seeds=tuple(range(FINAL_RUNS))),
        fresh=replace(
            trial, seconds=final_s, seeds=tuple(range(FIRST_FINAL_SEED, FIRST_FINAL_SEED + FINAL_RUNS))
        ),
        dispersion=index,
    )


def dispersion(trial: Trial, rates_rps: Sequence[float]) -> tuple[float, float]:
    """The index of dispersion of the counts of ``FINAL_RUNS`` runs, and it divided by the rate: of the worst model."""
    runs = replace(trial, seeds=tuple(range(FINAL_RUNS))).paths(rates_rps)
    counts = np.array([[len(times) for times in path] for path in runs], np.float64)
    mean = np.maximum(counts.mean(axis=0), 1.0)
    index = counts.var(axis=0, ddof=1) / mean
    # Sixteen runs know the variance to a third. Below 1 it is nearly always chance.
    each = np.maximum(index, 1.0) / np.array(rates_rps)
    worst = int(each.argmax())
    return float(max(index[worst], 1.0)), float(each[worst])
