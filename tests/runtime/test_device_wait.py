"""Waiting for a GPU, on a clock that is made up: how often it asks, how long it sleeps, what is left to the driver."""

from __future__ import annotations

import threading

import pytest

from penstock.runtime.device_wait import DRIVER_S, REMEMBERED, WATCH_S, DeviceWait, Waiters

ASKING_S = 2e-6
"""What one question takes."""


class Bench:
    """A clock, a device that is done at ``end_s``, and what the wait did."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.end_s = 0.0
        self.slept_s = 0.0
        self.asked = 0
        self.driver_waits = 0
        self.waiters = Waiters()
        self.wait = DeviceWait(waiters=self.waiters, clock=lambda: self.now_s, sleep=self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.slept_s += seconds

    def query(self) -> bool:
        self.asked += 1
        self.now_s += ASKING_S
        return self.now_s >= self.end_s

    def synchronize(self) -> None:
        self.driver_waits += 1
        self.now_s = max(self.now_s, self.end_s) + DRIVER_S

    def run(self, takes_s: float) -> float:
        """How long after the device's end a run of ``takes_s`` is noticed."""
        self.end_s, self.slept_s, self.asked, self.driver_waits = self.now_s + takes_s, 0.0, 0, 0
        self.wait.until(self)
        return self.now_s - self.end_s


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_the_first_run_is_left_to_the_driver_and_the_next_ones_are_not(bench: Bench) -> None:
    assert bench.run(0.01) == pytest.approx(DRIVER_S)
    assert bench.driver_waits == 1
    for _ in range(3):
        late_s = bench.run(0.01)
    assert bench.driver_waits == 0
    assert 0 <= late_s <= ASKING_S * 1.01


def test_most_of_a_long_run_is_slept_through(bench: Bench) -> None:
    for _ in range(REMEMBERED + 1):
        bench.run(0.01)
    assert bench.slept_s == pytest.approx(0.01 - WATCH_S, rel=0.01)
    assert bench.asked * ASKING_S <= 1.02 * WATCH_S


def test_a_run_that_takes_longer_than_usual_takes_no_more_of_the_core(bench: Bench) -> None:
    for _ in range(REMEMBERED + 1):
        bench.run(0.01)
    bench.run(1.0)
    assert bench.driver_waits == 1
    assert bench.asked * ASKING_S <= 3.1 * WATCH_S


def test_a_run_that_becomes_shorter_is_overslept_a_few_times_only(bench: Bench) -> None:
    for _ in range(REMEMBERED + 1):
        bench.run(0.01)
    late_s = [bench.run(0.004) for _ in range(20)]
    assert late_s == sorted(late_s[:6], reverse=True) + late_s[6:]
    assert max(late_s[10:]) <= 2 * ASKING_S
    assert bench.driver_waits == 0


def test_a_run_that_becomes_longer_is_learnt(bench: Bench) -> None:
    for _ in range(REMEMBERED):
        bench.run(0.004)
    for _ in range(REMEMBERED):
        bench.run(0.01)
    assert bench.run(0.01) <= 2 * ASKING_S
    assert bench.driver_waits == 0


def test_runs_that_vary_are_watched(bench: Bench) -> None:
    """By up to 0.4 ms: what is awake before and behind the usual end is enough."""
    for turn in range(REMEMBERED):
        bench.run(0.01 + 1e-4 * turn)
    for turn in range(12):
        assert bench.run(0.01 + 1e-4 * (3 * turn % 5)) <= 2 * ASKING_S
        assert bench.driver_waits == 0


def test_short_runs_are_not_slept_at_all(bench: Bench) -> None:
    for _ in range(3):
        bench.run(100e-6)
    assert bench.slept_s == 0.0
    assert bench.driver_waits == 0


def test_with_others_waiting_it_is_the_drivers(bench: Bench) -> None:
    for _ in range(REMEMBERED + 1):
        bench.run(0.01)
    with bench.waiters.one_more():
        bench.run(0.01)
    assert (bench.driver_waits, bench.slept_s, bench.asked) == (1, 0.0, 1)
    bench.run(0.01)
    assert bench.driver_waits == 0


def test_an_error_of_the_driver_reaches_the_caller_and_nobody_counts_as_waiting(bench: Bench) -> None:
    class Failed:
        def query(self) -> bool:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

        def synchronize(self) -> None:
            raise AssertionError

    with pytest.raises(RuntimeError, match="illegal memory access"):
        bench.wait.until(Failed())
    with bench.waiters.one_more():
        assert not bench.waiters.are_several


def test_threads_that_wait_at_once_all_return() -> None:
    reached = threading.Event()

    class Slow:
        def query(self) -> bool:
            return reached.is_set()

        def synchronize(self) -> None:
            assert reached.wait(10)

    wait = DeviceWait()
    threads = [threading.Thread(target=wait.until, args=(Slow(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    reached.set()
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
