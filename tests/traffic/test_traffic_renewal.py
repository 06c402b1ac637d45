"""Renewal arrivals: rates and variation as asked, independence between models."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import cv_of_sigma, gamma, lognormal, poisson


def test_rate_is_kept_at_high_rates():
    """Gaps of 25 us on average: cutting each to whole microseconds would add 2 per cent."""
    times_us = poisson(40_000.0, 50.0, np.random.default_rng(0))
    assert len(times_us) == pytest.approx(2_000_000, rel=0.003)  # 4 standard deviations
    assert times_us[0] >= 0
    assert times_us[-1] <= 50_000_000
    assert np.all(np.diff(times_us) >= 0)


@pytest.mark.parametrize(
    ("draw", "cv"), [(gamma, 0.5), (gamma, 1.0), (gamma, 4.0), (lognormal, 0.5), (lognormal, 2.0)]
)
def test_gaps_have_the_coefficient_of_variation(draw, cv):
    gaps = np.diff(draw(1_000.0, 400.0, np.random.default_rng(1), cv=cv))
    assert gaps.mean() == pytest.approx(1_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_lognormal_gaps_have_the_logarithm_asked_for():
    gaps = np.diff(lognormal(10.0, 20_000.0, np.random.default_rng(4), cv=cv_of_sigma(1.5)))
    logs = np.log(gaps[gaps > 0] / 1e6)
    assert logs.std() == pytest.approx(1.5, rel=0.01)
    assert logs.mean() == pytest.approx(np.log(0.1) - 1.5**2 / 2, abs=0.02)


@pytest.mark.parametrize("draw", [gamma, lognormal])
def test_bursty_process_is_stationary(draw):
    """The mean count is rate x time however short the window: a process begun with a gap would lack (cv^2 + 1) / 2."""
    rng = np.random.default_rng(2)
    counts = [len(draw(10.0, 0.5, rng, cv=4.0)) for _ in range(8_000)]
    assert np.mean(counts) == pytest.approx(5.0, abs=4 * np.std(counts) / np.sqrt(len(counts)))


def test_models_have_streams_of_their_own():
    one = draw_arrivals(poisson, [50.0, 100.0], 10.0, np.random.default_rng(3))
    two = draw_arrivals(poisson, [70.0, 100.0], 10.0, np.random.default_rng(3))
    assert np.array_equal(one.arrival_us[one.model == 1], two.arrival_us[two.model == 1])
    assert np.all(np.diff(one.arrival_us) >= 0)


def test_rate_zero_has_no_arrivals():
    assert len(draw_arrivals(poisson, [0.0], 10.0, np.random.default_rng(3))) == 0


@pytest.mark.parametrize(
    ("rate", "seconds", "cv"),
    [
        (-1.0, 1.0, 1.0),
        (1.0, 0.0, 1.0),
        (1.0, 1.0, 0.0),
        (1.0, 1.0, 101.0),
        (1.0, np.nan, 1.0),
        (1.0, 1e8, 1.0),
    ],
)
@pytest.mark.parametrize("draw", [gamma, lognormal])
def test_bad_parameters(draw, rate, seconds, cv):
    with pytest.raises(BadInputError, match="must be"):
        draw(rate, seconds, np.random.default_rng(0), cv=cv)


def test_a_draw_that_would_not_fit_in_memory_is_refused():
    with pytest.raises(BadInputError, match="at most 500,000,000"):
        poisson(1e9, 1.0, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("arrival", "model", "slo", "message"),
    [
        ([2, 1], [0, 0], None, "order"),
        ([1], [0, 0], None, "lengths"),
        ([1], [-1], None, "model"),
        ([1], [0], [], "lengths"),
    ],
)
def test_bad_arrivals(arrival, model, slo, message):
    with pytest.raises(BadInputError, match=message):
        Arrivals(np.array(arrival), np.array(model), None if slo is None else np.array(slo))
