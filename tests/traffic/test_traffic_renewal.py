"""Renewal arrivals: rates and variation as asked, independence between models."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.renewal import gamma, poisson
from penstock.traffic.spec import parse_arrivals


def test_rate_is_kept_at_high_rates():
    """Gaps of 25 us on average: cutting each to whole microseconds would add 2 per cent."""
    times_us = poisson(40_000.0, 50.0, np.random.default_rng(0))
    assert len(times_us) == pytest.approx(2_000_000, rel=0.003)  # 4 standard deviations
    assert times_us[0] >= 0
    assert times_us[-1] <= 50_000_000
    assert np.all(np.diff(times_us) >= 0)


@pytest.mark.parametrize("cv", [0.5, 1.0, 4.0])
def test_gaps_have_the_coefficient_of_variation(cv):
    gaps = np.diff(gamma(1_000.0, 400.0, np.random.default_rng(1), cv=cv))
    assert gaps.mean() == pytest.approx(1_000, rel=0.03)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)


def test_bursty_process_is_stationary():
    """The mean count is rate x time however short the window: a process begun with a gap would lack (cv^2 + 1) / 2."""
    rng = np.random.default_rng(2)
    counts = [len(gamma(10.0, 0.5, rng, cv=4.0)) for _ in range(20_000)]
    assert np.mean(counts) == pytest.approx(5.0, abs=4 * np.std(counts) / np.sqrt(len(counts)))


def test_models_have_streams_of_their_own():
    one = draw_arrivals(poisson, [50.0, 100.0], 10.0, np.random.default_rng(3))
    two = draw_arrivals(poisson, [70.0, 100.0], 10.0, np.random.default_rng(3))
    assert np.array_equal(one.arrival_us[one.model == 1], two.arrival_us[two.model == 1])
    assert np.all(np.diff(one.arrival_us) >= 0)


def test_rate_zero_has_no_arrivals():
    assert len(draw_arrivals(poisson, [0.0], 10.0, np.random.default_rng(3))) == 0


def test_spec_names_processes():
    rng = np.random.default_rng
    assert np.array_equal(parse_arrivals("poisson")(9.0, 5.0, rng(1)), poisson(9.0, 5.0, rng(1)))
    assert np.array_equal(parse_arrivals("gamma:cv=4")(9.0, 5.0, rng(1)), gamma(9.0, 5.0, rng(1), cv=4.0))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("uniform", "poisson, gamma:cv=4"),
        ("", "poisson, gamma:cv=4"),
        ("poisson:cv=2", "no options"),
        ("gamma", "cv is missing"),
        ("gamma:cv=x", "'x'"),
        ("gamma:cv=-1", "> 0"),
        ("gamma:cv=nan", "> 0"),
        ("gamma:cv", "key=value"),
        ("gamma:cv=1,cv=2", "once"),
        ("gamma:shape=2", "takes cv"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(BadInputError, match=message):
        parse_arrivals(spec)


@pytest.mark.parametrize(("rate", "seconds", "cv"), [(-1.0, 1.0, 1.0), (1.0, 0.0, 1.0), (1.0, 1.0, 0.0)])
def test_bad_parameters(rate, seconds, cv):
    with pytest.raises(BadInputError, match="must be"):
        gamma(rate, seconds, np.random.default_rng(0), cv=cv)


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
