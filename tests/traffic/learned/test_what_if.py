"""Speed and burst move times and keep the order."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.streams import Streams
from penstock.traffic.what_if import faster, with_burst

WINDOW_US = 1_000_000


def even(streams: int = 100, events: int = 100) -> Streams:
    time_us = np.sort(np.random.default_rng(0).integers(0, WINDOW_US, (streams, events)), axis=1).reshape(-1)
    first = np.arange(0, streams * events + 1, events)
    return Streams(
        np.zeros(streams * events, np.int16),
        time_us,
        first,
        np.zeros(streams, np.int16),
        ("e",),
        ("c",),
        WINDOW_US,
    )


def test_twice_as_fast_halves_times_and_window():
    made = faster(even(), 2.0)
    assert made.window_us == WINDOW_US // 2
    assert np.array_equal(made.time_us, even().time_us // 2)
    assert made.events_per_second == pytest.approx(2 * even().events_per_second)


@pytest.mark.parametrize("burst", [0.2, 1.0, 5.0])
def test_a_burst_is_so_many_times_the_rest(burst):
    made = with_burst(even(), burst)
    middle = (made.time_us >= 0.45 * WINDOW_US) & (made.time_us < 0.55 * WINDOW_US)
    # 10,000 events at an even rate: the middle tenth against a tenth of the other nine.
    rest = np.count_nonzero(~middle) / 9
    assert np.count_nonzero(middle) / rest == pytest.approx(burst, rel=0.08)
    assert made.window_us == WINDOW_US and np.array_equal(made.first, even().first)
    if burst == 1.0:
        assert np.abs(made.time_us - even().time_us).max() <= 1


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf")])
def test_factors_that_are_no_number_above_0_are_refused(value):
    with pytest.raises(BadInputError, match="must be a number > 0"):
        faster(even(), value)
    with pytest.raises(BadInputError, match="must be a number > 0"):
        with_burst(even(), value)
