"""Whether a silent worker waits for a core: by hand, and with processes that do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from penstock.serve.engine.silent_workers import (
    COULD_RUN_US,
    LOOK_EVERY_US,
    SilentWorkers,
    ThreadTimes,
    longest_wait_us,
    thread_times,
)
from penstock.serve.messages import Ping
from penstock.serve.transport.interface import Received
from penstock.serve.transport.wire import encoded
from penstock.units import NEVER_US

LOOP = "while True: pass"


def one(state="S", ran_us=0, waited_us=0):
    return ThreadTimes(state, ran_us, waited_us)


@pytest.mark.parametrize(
    ("before", "after", "waited_us"),
    [
        ({}, {}, 0),
        ({1: one("T")}, {1: one("T")}, 0),  # stopped
        ({1: one("S")}, {1: one("S", waited_us=70)}, 70),
        ({1: one("R")}, {1: one("R")}, 100),  # it waits still, so that is not counted yet
        ({1: one("R")}, {1: one("R", ran_us=100)}, 0),  # it runs all the time
        ({1: one("R")}, {1: one("R", ran_us=30, waited_us=10)}, 70),
        ({1: one("S")}, {1: one("R", waited_us=500)}, 100),  # of a wait that began before
        ({1: one("R", ran_us=9)}, {2: one("R")}, 0),  # another thread
        ({1: one(), 2: one("R")}, {1: one(), 2: one("R", ran_us=40)}, 60),  # that of the longest wait
    ],
)
def test_the_longest_wait_of_a_thread(before, after, waited_us):
    assert longest_wait_us(before, after, 100) == waited_us


class Clock:
    """Times of one thread that waits for a core, or sleeps."""

    def __init__(self):
        self.waiting = True
        self.watched = SilentWorkers(lambda pid: {pid: one("R" if self.waiting else "S")})

    def looks(self, first_us, count):
        return [self.watched.could_run(first_us + LOOK_EVERY_US * number) for number in range(count)]


def test_time_without_a_core_does_not_count_and_other_time_adds_up():
    clock = Clock()
    assert clock.watched.next_us == NEVER_US
    clock.watched.watch(0, 5, 50)
    assert clock.watched.next_us == LOOK_EVERY_US
    assert clock.watched.could_run(LOOK_EVERY_US - 1) == []
    assert clock.looks(LOOK_EVERY_US, 40) == [[]] * 40
    clock.waiting = False
    needed = COULD_RUN_US // LOOK_EVERY_US
    assert clock.looks(41 * LOOK_EVERY_US, needed) == [[]] * (needed - 1) + [[5]]
    assert clock.watched.next_us == NEVER_US


def test_one_that_ended_is_not_looked_at_and_one_that_is_watched_anew_begins_anew():
    clock = Clock()
    clock.waiting = False
    clock.watched.watch(0, 5, 50)
    clock.watched.watch(0, 6, 60)
    assert clock.watched.could_run(LOOK_EVERY_US) == []
    clock.watched.forget(6)
    clock.watched.watch(LOOK_EVERY_US, 5, 50)
    assert clock.looks(2 * LOOK_EVERY_US, 2) == [[], [5]]
    assert clock.watched.could_run(NEVER_US) == []


@pytest.fixture
def started():
    """Starts Python programs on core 0; all are ended."""
    running = []

    def start(program, *, before=()):
        command = [*before, sys.executable, "-c", f"print(flush=True)\n{program}"]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        running[-1].stdout.readline()  # it runs
        pid = running[-1].pid
        os.sched_setaffinity(pid, {min(os.sched_getaffinity(0))})
        return pid

    yield start
    for process in running:
        process.kill()
        process.communicate()


def wait_until(what):
    end_s = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.02)


def watched_until(pid, looks):
    """Whether the process was found able within so many looks, and how long was looked, in us."""
    silent = SilentWorkers()
    first_us = now_us = time.monotonic_ns() // 1_000
    silent.watch(now_us, 0, pid)
    for _ in range(looks):
        time.sleep(LOOK_EVERY_US / 1e6)
        now_us = time.monotonic_ns() // 1_000
        if silent.could_run(now_us):
            return True, now_us - first_us
    return False, now_us - first_us


needs_counts = pytest.mark.skipif(
    not thread_times(os.getpid()), reason="this system does not count how long threads wait for a core"
)


@needs_counts
def test_a_stopped_process_could_have_answered(started):
    pid = started("import time; time.sleep(600)")
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: thread_times(pid)[pid].state == "T")
    assert watched_until(pid, 10)[0]


@needs_counts
@pytest.mark.parametrize(
    ("hang", "state"),
    [
        ("import threading; one = threading.Lock(); one.acquire(); one.acquire()", "S"),  # a deadlock
        ("import ctypes; ctypes.PyDLL(None).sleep(600)", "S"),  # a driver that does not return
        ("import re; re.match('(a+)+$', 'a' * 60 + 'b')", "R"),  # a loop that lets no other thread run
    ],
)
def test_a_process_that_hangs_could_have_answered_though_others_want_its_core(started, hang, state):
    pid = started(hang)
    wait_until(lambda: thread_times(pid)[pid].state == state)
    started(LOOP)
    assert watched_until(pid, 1_000)[0]


@needs_counts
def test_a_process_that_gets_no_core_could_not(started):
    """One that has the lowest priority of all, beside one that never sleeps, on one core."""
    starved = started(LOOP, before=("nice", "-n", "19"))
    wait_until(lambda: thread_times(starved)[starved].state == "R")
    os.sched_setscheduler(starved, os.SCHED_IDLE, os.sched_param(0))
    for _ in range(3):
        started(LOOP)
    ran_us = thread_times(starved)[starved].ran_us
    able, looked_us = watched_until(starved, 20)
    assert not able, (thread_times(starved)[starved].ran_us - ran_us, looked_us)


def test_a_worker_says_how_long_its_run_waited_for_a_core(monkeypatch):
    """From the first ping of a run on; another run begins anew."""
    worker = pytest.importorskip("penstock.serve.worker")
    clock = SimpleNamespace(us=0)
    clock.now_us = lambda: clock.us
    times = {1: one("R")}
    monkeypatch.setattr(worker, "thread_times", lambda pid: dict(times))
    inbox = worker._Inbox(3, clock, longest_us=1_000)
    pongs = []
    link = SimpleNamespace(send=pongs.append)
    for now_us, since_us, ran_us in ((10, -1, 0), (20, 5, 0), (120, 5, 30), (220, 5, 40), (230, 225, 40)):
        clock.us, inbox.running_since_us, times[1] = now_us, since_us, one("R", ran_us=ran_us)
        inbox.take(link, Received(encoded(Ping()), []))
    assert [pong.waited_us for pong in pongs] == [0, 0, 70, 160, 0]
