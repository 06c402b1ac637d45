"""The search for the rate that is held, against capacities known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table
from penstock.simulate.judge.sweep import Search, sweep
from penstock.simulate.judge.trial import Trial

SLO_US = 20_000


def evenly(rate_rps, seconds, rng):
    """Arrivals at equal distances from a random start."""
    gap_us = 1e6 / rate_rps
    return np.rint(np.arange(rng.random() * gap_us, seconds * 1e6, gap_us)).astype(np.int64)


def one_server(*service_us):
    return make_table(
        [(SLO_US, [Pipeline(1, [Stage([own], [host])])]) for host, own in enumerate(service_us)]
    )


def test_a_busy_server_serves_its_capacity_and_loses_the_rest():
    """At rate r > c a server of capacity c loses 1 - c / r: 1% at c / 0.99. Each model finds its own."""
    held = sweep(one_server(1_000, 4_000), [700.0, 400.0], Trial(evenly, seconds=10, seeds=(1, 2)))
    assert held[0].rate_rps == pytest.approx(1_000 / 0.99, rel=0.007)
    assert held[1].rate_rps == pytest.approx(250 / 0.99, rel=0.007)
    for one in held:
        assert 0.99 <= one.attainment < 0.995
        assert one.low_rps <= one.rate_rps <= one.high_rps
        assert one.curve == tuple(sorted(one.curve))
        assert (one.rate_rps, one.attainment) in one.curve


def test_a_model_that_cannot_meet_its_slo_holds_nothing():
    held = sweep(one_server(SLO_US + 1, 1_000), [50.0, 900.0], Trial(evenly, seconds=5, seeds=(0,)))
    assert held[0].rate_rps == 0.0
    assert held[0].attainment == 0.0
    assert held[1].rate_rps == held[1].low_rps == held[1].high_rps > 0


def test_lower_targets_hold_higher_rates():
    strict, lax = (
        sweep(one_server(1_000), [1_000.0], Trial(evenly, seconds=5, seeds=(0,)), target=target)[0]
        for target in (0.99, 0.9)
    )
    assert lax.rate_rps == pytest.approx(1_000 / 0.9, rel=0.01) and lax.rate_rps > strict.rate_rps


@settings(max_examples=200, deadline=None)
@given(
    first=st.floats(1.0, 1e4),
    where=st.floats(0.1, 8.0),
    steepness=st.floats(0.5, 60.0),
    seeds=st.integers(1, 5),
)
def test_the_bracket_closes_on_any_falling_curve(first, where, steepness, seeds):
    """Misses of 1% * (rate / crossing) ** steepness: the rate found is the crossing, from below."""
    crossing = first * where
    search = Search(first, 0.99, 0.005)
    steps = 0
    while not search.has_ended:
        share = min(1.0, 0.01 * (search.next_rps / crossing) ** steepness)
        search.note(np.full(seeds, round(1e9 * share)), np.full(seeds, 10**9))
        steps += 1
        assert steps < 60
    held = search.held()
    assert crossing / 1.006 <= held.rate_rps <= crossing * (1 + 1e-6)
    assert math.isclose(held.low_rps, held.rate_rps) and math.isclose(held.high_rps, held.rate_rps)


@pytest.mark.parametrize("other", [100.0, 101.0, 104.0])
def test_the_interval_of_two_seeds_is_that_of_their_mean(other):
    """Each seed alone crosses at its own rate, 100 and ``other``.

    The jackknife of two values is the usual interval of a mean: their distance, times 12.706 / 2 on either side.
    """
    search = Search(100.0, 0.99, 0.005)
    while not search.has_ended:
        shares = [0.01 * (search.next_rps / at) ** 20 for at in (100.0, other)]
        search.note(np.array([round(1e6 * min(share, 1.0)) for share in shares]), np.full(2, 10**6))
    held = search.held()
    # Misses bend: a straight line from between the two rates misses either by some per cent of its distance.
    assert held.high_rps - held.low_rps == pytest.approx(12.706 * (other - 100.0), rel=0.04, abs=1e-6)
    assert held.high_rps - held.rate_rps == pytest.approx(held.rate_rps - held.low_rps)


def test_no_interval_begins_below_zero():
    """Two seeds that differ by half: 12.706 / 2 of their distance is more than either rate."""
    search = Search(100.0, 0.99, 0.005)
    while not search.has_ended:
        shares = [0.01 * (search.next_rps / at) ** 20 for at in (100.0, 150.0)]
        search.note(np.array([round(1e6 * min(share, 1.0)) for share in shares]), np.full(2, 10**6))
    held = search.held()
    assert held.low_rps == 0.0
    assert held.high_rps > 2 * held.rate_rps


def test_models_that_share_a_pool_are_searched_together():
    """Two workers of 1 ms for rates of 3 : 1, together 2,000 / 0.99 a second; the third model is on its own."""
    stages = [Stage([1_000], [0]), Stage([1_000], [1]), Stage([4_000], [2])]
    table = make_table([(SLO_US, [Pipeline(1, [stage])]) for stage in stages])
    shared = table._replace(stage_pool=np.array([0, 0, 1]))
    held = sweep(shared, [900.0, 300.0, 400.0], Trial(evenly, seconds=10, seeds=(1, 2)))
    assert held[0].rate_rps == pytest.approx(3 * held[1].rate_rps)
    assert held[0].rate_rps + held[1].rate_rps == pytest.approx(2_000 / 0.99, rel=0.015)
    assert held[2].rate_rps == pytest.approx(250 / 0.99, rel=0.007)
    # Each has its own attainment at the common load, and the worse of the two decided.
    assert min(held[0].attainment, held[1].attainment) >= 0.99
    for one in held:
        assert (one.rate_rps, one.attainment) in one.curve


def test_a_narrow_bracket_does_not_widen_the_interval():
    """Misses grow as rate^20, but between the ends of the last bracket, 0.2% apart, hardly at all, by chance.

    Sixteen seeds miss 1,000 on average at the held rate, with a standard deviation of 10%. So the rate that just meets
    the target has a standard error of 10% / sqrt(16) / 20, and the interval is 2.131 of these on either side.
    """
    base = 1_000 + 100 * np.tile([-1.0, 1.0], 8)
    arrived = np.full(16, 100_000)
    search = Search(1.0, 0.99, 0.002)
    for rate in (0.96, 1.0, 1.04):
        search.tried.append((rate, np.rint(base * rate**20).astype(np.int64), arrived))
    search.tried.append((1.002, np.rint(base).astype(np.int64) + 1, arrived))
    search.low, search.high = 1.0, 1.002
    held = search.held()
    assert held.high_rps - held.rate_rps == pytest.approx(2.131 * 0.1 / 4 / 20, rel=0.2)
