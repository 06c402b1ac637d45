"""Units and clocks: exact small facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.clock import ManualClock, MonotonicClock, SolvingClock, waited_seconds
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


def test_waiting_for_a_processor_is_not_solving() -> None:
    now, waited = [10.0], [3.0]
    clock = SolvingClock(lambda: now[0], lambda: waited[0])
    began = clock.seconds()
    assert clock.pace() == 1.0
    now[0] += 8
    waited[0] += 6
    assert clock.seconds() - began == 2
    assert clock.pace() == 4.0
    clock.stop()
    now[0] += 5
    waited[0] += 1
    assert clock.seconds() - began == 2
    clock.go_on()
    assert clock.seconds() - began == 2
    assert clock.excluded_seconds() == 4


def test_what_a_process_waited_is_read_from_the_system(tmp_path: Path) -> None:
    counts = tmp_path / "schedstat"
    counts.write_text("5000000000 1500000000 77\n")
    assert waited_seconds(counts) == 1.5
    assert waited_seconds(tmp_path / "not there") == 0.0
    counts.write_text("")
    assert waited_seconds(counts) == 0.0
