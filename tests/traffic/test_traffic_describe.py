"""The figures of a load, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from trace_files import toy_trace

from penstock.traffic.load_figures import describe, describe_trace
from penstock.traffic.processes.renewal import poisson


def test_figures_by_hand():
    """Ten seconds, in second 2 three arrivals, two of them at once, in second 7 one."""
    figures = describe(np.array([2_000_000, 2_500_000, 2_500_000, 7_000_000]), 10_000_000)
    assert figures.arrivals == 4
    assert figures.seconds == 10.0
    assert figures.rate_rps == 0.4
    gaps = np.array([0.5, 0, 4.5])
    assert figures.gap_cv == pytest.approx(gaps.std() / gaps.mean())
    # A second: counts 3 and 1 and eight zeros: mean 0.4, mean square 1.0. A tenth: 1, 2, 1 of a hundred.
    assert figures.dispersion == {
        0.1: pytest.approx((6 / 100 - 0.04**2) / 0.04),
        1.0: pytest.approx((1.0 - 0.16) / 0.4),
    }
    assert figures.peak_rps == 3
    assert figures.peak_over_mean == pytest.approx(7.5)
    assert figures.tied_share == pytest.approx(1 / 3)


def test_poisson_has_dispersion_one_at_every_length():
    figures = describe(poisson(50.0, 5_000.0, np.random.default_rng(2)), 5_000_000_000)
    assert figures.gap_cv == pytest.approx(1.0, abs=0.01)
    assert set(figures.dispersion) == {0.1, 1.0, 10.0, 100.0}
    for window_s, index in figures.dispersion.items():
        assert index == pytest.approx(1.0, abs=4 * np.sqrt(2 * window_s / 5_000))


def test_too_little_to_say():
    none = describe(np.zeros(0, np.int64), 10_000_000)
    assert (none.gap_cv, none.dispersion, none.peak_rps, none.peak_over_mean) == (None, {}, 0, None)
    short = describe(np.array([5]), 400_000)
    assert (short.gap_cv, short.dispersion, short.peak_rps, short.tied_share) == (None, {}, None, None)


def test_a_year_with_two_arrivals_takes_no_year_of_memory():
    figures = describe_trace(toy_trace([0, 31_000_000_000_000], 31_000_000_000_001, [0, 1]))
    assert figures.peak_rps == 1
    assert figures.names == {"stream": 2}
