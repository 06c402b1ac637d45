"""Run lengths follow from the dispersion of the load; a search keeps what more runs confirm."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.simulate.judge.run_lengths import FINAL_RUNS, LONGEST_S, SHORTEST_S, dispersion, judging
from penstock.simulate.judge.trial import Trial
from penstock.traffic.processes.renewal import poisson


def evenly(rate_rps, seconds, rng):
    """No randomness at all."""
    return np.rint(np.arange(0.0, seconds * 1e6, 1e6 / rate_rps)).astype(np.int64)


def in_batches(size):
    """Poisson arrivals of groups of ``size`` at once: counts are ``size`` times a Poisson number, so I = ``size``."""

    def draw(rate_rps, seconds, rng):
        return np.repeat(poisson(rate_rps / size, seconds, rng), size)

    return draw


@pytest.mark.parametrize("size", [1, 25])
def test_the_index_of_groups_is_their_size(size):
    """Sixteen runs know a variance to sqrt(2 / 15) = 37%; two models are taken, and the worse counts."""
    index, share = dispersion(Trial(in_batches(size), seconds=20), [200.0, 1_000.0])
    assert 0.5 * size <= index <= 2.5 * size
    assert share >= index / 1_000


def test_loads_below_poisson_count_as_poisson():
    assert dispersion(Trial(evenly, seconds=5), [500.0]) == (1.0, 1 / 500.0)


def test_bursty_loads_are_run_for_longer():
    """At 5,000/s, smooth: 1 / 5,000 / 0.008^2 is 3 s, so two runs of the shortest. In groups of 200 the last judge
    needs 200 / 5,000 / 0.0025^2 / 16 = 400 s a run, so it gets the longest."""
    smooth, bursty = (judging(Trial(each), [5_000.0]) for each in (evenly, in_batches(200)))
    assert (smooth.search.seconds, len(smooth.search.seeds)) == (SHORTEST_S, 2)
    assert smooth.last.seconds == SHORTEST_S
    assert bursty.last.seconds == LONGEST_S
    assert len(bursty.search.seeds) > 2
    for each in (smooth, bursty):
        assert each.search.seeds == each.last.seeds[: len(each.search.seeds)]
        assert each.middle.seeds == each.last.seeds[: len(each.middle.seeds)]
        assert len(each.fresh.seeds) == FINAL_RUNS
        assert not set(each.fresh.seeds) & set(each.last.seeds)
