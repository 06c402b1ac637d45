"""Units and clocks: exact small facts."""

from __future__ import annotations

import pytest

from penstock.clock import ManualClock, MonotonicClock
from penstock.result import relative_gap
from penstock.units import transfer_us, us_from_ms, us_from_seconds, whole_us


def test_transfer_time_by_hand() -> None:
    # 1.25 MB over 10 Gbit/s: 1e7 bits / 1e10 bits/s = 1 ms.
    assert transfer_us(1_250_000, 10) == pytest.approx(1000.0)


def test_whole_us_rounds_up_but_forgives_float_noise() -> None:
    assert [whole_us(x) for x in (0.0, 2.0, 2.1, 3.0000000001)] == [0, 2, 3, 3]


def test_edges_round_to_the_nearest_microsecond() -> None:
    assert us_from_ms(1.2345) == 1234
    assert us_from_seconds(0.0000016) == 2


def test_manual_clock_moves_only_forward() -> None:
    clock = ManualClock(5)
    clock.advance(7)
    assert clock.now_us() == 12
    with pytest.raises(ValueError, match="never goes back"):
        clock.advance(-1)


def test_monotonic_clock_does_not_go_back() -> None:
    clock = MonotonicClock()
    first = clock.now_us()
    assert clock.now_us() >= first


def test_gap_is_relative_to_the_objective() -> None:
    assert relative_gap(100.0, 101.0) == pytest.approx(0.01)
    assert relative_gap(50.0, 50.0) == 0.0
