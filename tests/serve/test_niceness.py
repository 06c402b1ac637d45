"""Processes that give way to what serves have their niceness from their start: loading takes a second of a core."""

from __future__ import annotations

import os
import selectors

import msgspec
import pytest
from serve_cases import bytes_profile, write_plan

pytest.importorskip("zmq")

from penstock.clock import MonotonicClock
from penstock.plan.documents.store import load_plan
from penstock.serve.engine.command import VERB_NICENESS, verb
from penstock.serve.engine.worker_keeper import WorkerKeeper
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.spec import PADDED_NICENESS


def more_than_ours(pid):
    return os.getpriority(os.PRIO_PROCESS, pid) - os.getpriority(os.PRIO_PROCESS, 0)


def test_a_verb_beside_a_server_gives_way():
    running = verb(["--version"])
    assert more_than_ours(running._process.pid) == VERB_NICENESS
    running.kill()


@pytest.mark.parametrize(("executor", "niceness"), [("padded", PADDED_NICENESS), ("emulated", 0)])
def test_a_padded_worker_gives_way_while_it_loads(tmp_path, executor, niceness):
    """Padded workers that serve already have that niceness: others that load would take their cores."""
    loaded = load_plan(write_plan(tmp_path, bytes_profile("toy", [4, 4, 4]), (0, 1, 2)))
    folder = tmp_path / "run"
    folder.mkdir()
    spec = prepare(loaded.plan, loaded.profiles, ServeOptions(executors={"gpu": "emulated"}), folder)
    stages = tuple(msgspec.structs.replace(stage, executor=executor) for stage in spec.stages)
    spec = msgspec.structs.replace(spec, stages=stages)
    keeper = WorkerKeeper(folder, selectors.DefaultSelector(), MonotonicClock(), [].append, [].append)
    keeper.add_plan(spec)
    found = [more_than_ours(pid) for pid in keeper.pids.values()]
    keeper.stop()
    assert found == [niceness] * 2
