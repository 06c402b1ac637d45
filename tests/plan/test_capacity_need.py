"""How much capacity a load needs: against the formula for Poisson arrivals, by hand for bursts, and its shape."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from penstock.plan.goodput_bound.token_bucket_kernels import SERVED, serve_from_bucket
from penstock.plan.hold.capacity_need import CapacityNeed, capacity_need, own_needs, pooled_needs


def poisson(rate: float, seconds: float, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.sort(rng.uniform(0.0, seconds, rng.poisson(rate * seconds)))


def at(need: CapacityNeed, depth: float) -> float:
    return float((need.level - need.slope * depth).max())


@pytest.mark.parametrize(("depth", "load"), [(8.0, 0.81), (15.0, 0.929), (26.0, 0.977), (46.0, 0.998)])
def test_poisson_arrivals_need_what_the_diffusion_formula_says(depth: float, load: float):
    """Ward and Glynn (Queueing Systems 2003): the load at which 1% find a bucket of this depth empty."""
    runs = [poisson(1000.0, 60.0, seed) for seed in range(4)]
    assert 1 / at(capacity_need(runs, 1000.0, 120.0, 0.99), depth - 1.0) == pytest.approx(load, rel=0.03)


def test_bursts_need_backlog_or_capacity_of_their_size():
    """Ten requests at once each second. A backlog of ten holds them at their rate; half of it serves half of them."""
    times = np.repeat(np.arange(1.0, 101.0), 10)
    need = capacity_need([times], 10.0, 40.0, 0.99)
    assert at(need, 9.5) < 4
    assert at(need, 15.0) == pytest.approx(0.9, abs=0.1)
    assert at(need, 5.0) > 50


def test_mostly_idle_pools_let_more_requests_wait_than_arrive_within_an_slo():
    """Five requests at once every ten seconds, SLO 0.2 s: 0.1 arrive within it. Four that can wait need little."""
    times = np.repeat(np.arange(10.0, 1010.0, 10.0), 5)
    need = capacity_need([times], 0.5, 0.1, 0.99)
    assert at(need, 4.0) < 3
    assert at(need, 3.0) > 50


def test_more_backlog_never_needs_more_capacity():
    need = capacity_need([poisson(50.0, 20.0, 1)], 50.0, 30.0, 0.99)
    assert (need.slope >= 0).all()
    assert at(need, 1.0) >= at(need, 5.0) >= at(need, 30.0)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.floats(0.0, 10.0), min_size=30, max_size=200),
    st.floats(1.0, 60.0),
    st.floats(0.01, 1.0),
    st.sampled_from([0.9, 0.99]),
)
def test_a_bucket_of_the_need_serves_the_target(
    arrivals: list[float], most_depth: float, part: float, target: float
):
    """Chords are above the curve, so what they ask for is enough at every depth, up to what the search leaves."""
    times = np.array(sorted(arrivals))
    rate = len(times) / 10.0
    need = capacity_need([times], rate, most_depth, target)
    depth = max(part, 0.005) * most_depth
    found = np.zeros(4)
    serve_from_bucket(times, rate * at(need, depth) * 1.002, depth + 1.0, found)
    most = np.zeros(4)
    serve_from_bucket(times, rate * 64.0, depth + 1.0, most)
    assume(most[SERVED] >= target * len(times))  # else no capacity helps, and the curve has ended
    assert found[SERVED] >= target * len(times) * (1 - 1e-3)


def test_what_is_served_is_what_the_lines_allow():
    need = CapacityNeed(level=np.array([1.5, 1.0]), slope=np.array([0.05, 0.0]))
    # With little depth the first line binds, with much the second.
    assert need.served_rps(100.0, 150.0, 0.0) == pytest.approx(100.0)
    assert need.served_rps(100.0, 150.0, 10.0) == pytest.approx(min((150 + 0.05 * 100 * 10) / 1.5, 150.0))
    assert need.served_rps(100.0, 150.0, 1e6) == pytest.approx(150.0)


def test_models_that_burst_in_turn_need_less_together():
    """Each bursts in its own second. Together the same backlog, in proportion, sees smaller bursts."""

    def paths(rates):
        return [
            [
                np.concatenate([np.linspace(k, k + 0.2, 40) for k in range(first, 100, 2)])
                for first in range(len(rates))
            ]
        ]

    slo_s = np.array([1.0, 1.0])
    alone = own_needs(paths, slo_s, 0.99)([20.0, 20.0])
    together = pooled_needs(paths, slo_s, 0.99)([20.0, 20.0])
    assert at(together[0], 5.0) < at(alone[0], 5.0) - 0.1
