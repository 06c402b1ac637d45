"""A server with a worker that gets no core, and later with one that is stopped: only the latter is replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from test_serve_faults import clients, emulated, join, role_of
from test_serve_live import ALLOWANCE, children_of, figure, is_alive, wait_until

from penstock.serve.engine.silent_workers import thread_times
from penstock.serve.local_server import LocalServer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not thread_times(os.getpid()), reason="this system does not count how long threads wait for a core"
    ),
]
LOOP = "while True: pass"
HOGS = 3


def schedule(pid, policy, cores):
    """All threads of a process, on ``cores`` only."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)
        os.sched_setscheduler(int(task.name), policy, os.sched_param(0))


@contextmanager
def starving(pid):
    """It has a core only if nobody else wants it, and others always do."""
    cores = os.sched_getaffinity(0)
    core = {min(cores)}
    hogs = [subprocess.Popen([sys.executable, "-c", LOOP]) for _ in range(HOGS)]
    try:
        for hog in hogs:
            os.sched_setaffinity(hog.pid, core)
        schedule(pid, os.SCHED_IDLE, core)
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
        schedule(pid, os.SCHED_OTHER, cores)


def retried(server):
    return figure(server, "penstock_batch_retries_total")


def test_a_worker_without_a_core_is_not_replaced_and_a_stopped_one_is(tmp_path):
    plan = emulated(tmp_path, latency_us=20_000, slo_us=60_000_000)
    with LocalServer(plan, ["--executor", "emulated", *ALLOWANCE]) as server:
        first, other = [pid for pid in children_of(server.pid) if role_of(pid) == "worker"]

        def ask_all():
            answers = []
            join(clients(server, 8, answers))
            assert answers == [200] * 8

        with starving(first):
            wait_until(lambda: ask_all() or retried(server) > 0, 120)
            for _ in range(5):
                ask_all()
        assert "died" not in server.notes
        assert is_alive(first)
        # From now on the first one serves what is served.
        os.kill(other, signal.SIGSTOP)
        ask_all()
        wait_until(lambda: "died (it hung: no answer to a ping" in server.notes, 60)
        ask_all()
        assert not is_alive(other)
        assert is_alive(first)
