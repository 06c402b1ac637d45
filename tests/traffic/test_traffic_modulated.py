"""Poisson with a moving rate: on/off bursts, daily shapes, counts."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.processes.diurnal import diurnal
from penstock.traffic.processes.modulated import SteppedShape, piecewise_poisson
from penstock.traffic.processes.onoff import onoff


def shaped(weights, bin_s, start_s=None):
    return SteppedShape(np.array(weights, float), bin_s, start_s)


PROCESSES = {
    "onoff": partial(onoff, on_s=0.3, off_s=0.9, ratio=8.0),
    "silent off": partial(onoff, on_s=0.3, off_s=0.9, ratio=np.inf),
    "sinusoid": partial(diurnal, amplitude=0.9, period_s=3.0),
    "steps": shaped([1, 4, 0], 0.7),
}


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("seconds", [0.2, 5.3])
def test_mean_rate_is_exact_over_any_window(name, seconds):
    rng = np.random.default_rng(7)
    times = [PROCESSES[name](20.0, seconds, rng) for _ in range(1_000)]
    counts = [len(t) for t in times]
    assert np.mean(counts) == pytest.approx(20.0 * seconds, abs=4 * np.std(counts) / np.sqrt(len(counts)))
    # Stationary: no part of the window has more than another.
    halves = [np.sum(t < seconds * 5e5) for t in times]
    assert np.mean(halves) == pytest.approx(10.0 * seconds, abs=4 * np.std(halves) / np.sqrt(len(halves)))
    assert all(np.all(np.diff(t) >= 0) for t in times)
    assert all(t[0] >= 0 and t[-1] <= seconds * 1e6 for t in times if len(t))


@pytest.mark.parametrize("name", PROCESSES)
def test_the_same_seed_gives_the_same_arrivals(name):
    one, two, other = (PROCESSES[name](50.0, 4.0, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert one.dtype == np.int64
    assert len(PROCESSES[name](0.0, 4.0, np.random.default_rng(0))) == 0


def test_pieces_get_their_own_rates():
    edges, rates = np.array([0.0, 10.0, 30.0, 40.0]), np.array([100.0, 0.0, 400.0])
    times = piecewise_poisson(edges, rates, np.random.default_rng(0))
    counts, _ = np.histogram(times, edges * 1e6)
    assert counts[1] == 0
    assert counts[0] == pytest.approx(1_000, abs=4 * np.sqrt(1_000))
    assert counts[2] == pytest.approx(4_000, abs=4 * np.sqrt(4_000))


def test_index_of_dispersion_of_on_off_bursts():
    """Over long windows the index tends to 1 + 2 s^2 rate T / m: the integral of the rate's autocovariance.

    Silent when off, on 0.1 s and off 0.4 s: rate when on R / 0.2 = 500, its variance 500^2 x 0.2 x 0.8 = 40,000,
    relaxation time 1 / (10 + 2.5) = 0.08 s, so 1 + 2 x 40,000 x 0.08 / 100 = 65.
    """
    times = onoff(100.0, 20_000.0, np.random.default_rng(3), on_s=0.1, off_s=0.4, ratio=np.inf)
    counts = np.bincount(times // 10_000_000, minlength=2_000)[:2_000]
    assert counts.var() / counts.mean() == pytest.approx(
        65.0, rel=0.13
    )  # 4 deviations of a variance of 2,000


def test_ratio_one_is_poisson():
    times = onoff(1_000.0, 200.0, np.random.default_rng(3), on_s=0.1, off_s=0.4, ratio=1.0)
    gaps = np.diff(times)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, rel=0.02)


def test_the_day_begins_at_its_trough():
    """The quarter around the trough: 25 s less the integral of 0.8 cos(2 pi t / 100) from -12.5 to 12.5."""
    day = partial(diurnal, amplitude=0.8, period_s=100.0, start_s=0.0)
    times = day(1_000.0, 100.0, np.random.default_rng(5))
    trough = np.sum((times < 12.5e6) | (times >= 87.5e6))
    expected = 1_000 * (25 - 0.8 * (100 / np.pi) * np.sin(np.pi / 4))
    assert trough == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_a_shape_goes_round_from_its_start():
    times = shaped([3, 0, 1], 2.0, start_s=3.0)(100.0, 9.0, np.random.default_rng(5))
    # From second 3: one more of the silent bin, then weights 1 and 3, two seconds each, two of silence, and 1 again.
    counts, _ = np.histogram(times / 1e6, [0, 1, 3, 5, 7, 9])
    assert counts[0] == counts[3] == 0
    for found, expected in zip(counts[[1, 2, 4]], [150, 450, 150], strict=True):
        assert found == pytest.approx(expected, abs=4 * np.sqrt(expected))


@pytest.mark.parametrize(
    ("on_s", "off_s", "ratio", "message"),
    [
        (0.0, 1.0, 2.0, "on .*=0"),
        (1.0, np.inf, 2.0, "off .*=inf"),
        (1.0, 1.0, 0.5, "ratio .*=0.5"),
        (1.0, np.nan, 2.0, "off"),
    ],
)
def test_bad_bursts(on_s, off_s, ratio, message):
    with pytest.raises(BadInputError, match=message):
        onoff(1.0, 1.0, np.random.default_rng(0), on_s=on_s, off_s=off_s, ratio=ratio)


def test_more_bursts_than_fit_in_memory():
    with pytest.raises(BadInputError, match="at most 100,000,000"):
        onoff(1.0, 1e6, np.random.default_rng(0), on_s=0.001, off_s=0.001, ratio=2.0)


@pytest.mark.parametrize(("amplitude", "period_s"), [(1.5, 1.0), (-0.1, 1.0), (0.5, 0.0), (np.nan, 1.0)])
def test_bad_days(amplitude, period_s):
    with pytest.raises(BadInputError, match=r"amplitude|period"):
        diurnal(1.0, 1.0, np.random.default_rng(0), amplitude=amplitude, period_s=period_s)
