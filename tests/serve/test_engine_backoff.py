"""The waits before a process is started again, by hand, and that a keeper of workers keeps to them."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from penstock.serve.engine.backoff import STABLE_US, RestartDelays
from penstock.serve.engine.worker_keeper import WorkerKeeper

DOUBLED_US = [100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 5_000_000, 5_000_000]


def test_waits_double_up_to_five_seconds_and_begin_again_once_the_process_was_up_for_long():
    delays = RestartDelays()
    assert [delays.next_us("a") for _ in DOUBLED_US] == DOUBLED_US
    assert delays.next_us("b") == 100_000
    assert delays.next_us("a", STABLE_US - 1) == 5_000_000
    assert [delays.next_us("a", was_up_us) for was_up_us in (STABLE_US, 0)] == DOUBLED_US[:2]


@pytest.fixture
def told():
    return []


@pytest.fixture
def keeper(tmp_path, told):
    spec = SimpleNamespace(epoch=0, workers=range(2), worker_devices=(), first_worker=0, plan=None)
    clock = SimpleNamespace(now_us=lambda: 7)
    selector = SimpleNamespace(unregister=lambda line: None)
    made = WorkerKeeper(tmp_path, selector, clock, told.append, lambda note: None)
    made._start = lambda worker: None
    made.add_plan(spec)
    return made


def bury(keeper, index, up_since_us=-1):
    worker = keeper._workers[index]
    worker.up_since_us = up_since_us
    keeper._bury(worker, SimpleNamespace(line=None, reap=lambda limit_s: "exit status 1"))


def test_the_keeper_waits_longer_for_a_worker_that_does_not_come_up(keeper, told):
    for _ in range(3):
        bury(keeper, 0)
    bury(keeper, 1)
    waits = sorted((at_us, worker.index) for at_us, _, worker in keeper._restarts._heap)
    assert waits == [(100_007, 0), (100_007, 1), (200_007, 0), (400_007, 0)]
    assert [(one.worker, one.was_up, one.restart_us) for one in told] == [
        (0, False, 100_000),
        (0, False, 200_000),
        (0, False, 400_000),
        (1, False, 100_000),
    ]


def test_a_worker_that_comes_up_only_to_die_is_a_storm_too(keeper):
    for _ in range(3):
        bury(keeper, 0, up_since_us=5)
    assert sorted(at_us for at_us, _, _ in keeper._restarts._heap) == [100_007, 200_007, 400_007]
    keeper._clock.now_us = lambda: 7 + STABLE_US
    bury(keeper, 0, up_since_us=7)
    assert sorted(at_us for at_us, _, _ in keeper._restarts._heap)[-1] == 100_007 + STABLE_US


def test_a_worker_that_is_not_wanted_is_forgotten_without_a_word(keeper, told):
    keeper._workers[0].child = SimpleNamespace(line=SimpleNamespace(send=lambda message: None))
    worker = keeper._workers[0]
    keeper.end_plan(0)
    keeper._bury(worker, SimpleNamespace(line=None, reap=lambda limit_s: "exit status 0"))
    assert (keeper._workers, told, keeper._restarts._heap) == ({}, [], [])
