"""Intervals of means over seeds, against tables of Student's t."""

from __future__ import annotations

import math

import pytest

from penstock.errors import BadInputError
from penstock.interval import mean_interval, student_quantile


@pytest.mark.parametrize(
    ("confidence", "freedom", "quantile"),
    [(0.95, 1, 12.706), (0.95, 2, 4.303), (0.95, 9, 2.262), (0.95, 30, 2.042), (0.99, 4, 4.604)],
)
def test_quantiles_are_those_of_the_tables(confidence, freedom, quantile):
    assert student_quantile(confidence, freedom) == pytest.approx(quantile, abs=6e-4)


def test_interval_by_hand():
    """1, 2, 3: deviation 1, so 4.303 / sqrt(3)."""
    interval = mean_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.high - interval.low == pytest.approx(2 * 4.303 / math.sqrt(3), abs=2e-3)


def test_one_value_says_nothing_of_its_spread():
    assert mean_interval([0.5]).half_width == math.inf


def test_bad_input():
    with pytest.raises(BadInputError, match="at least one"):
        mean_interval([])
