"""A running server takes another plan."""

from __future__ import annotations

import json
import os
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace
from serve_cases import WIDTH, bytes_profile, skip_profile, write_plan, write_skip_model
from test_serve_live import ALLOWANCE, ask, children_of, wait_until

from penstock.cli.main import cli
from penstock.errors import BadInputError, PenstockError
from penstock.plan.documents.store import load_plan
from penstock.record import Outcome, load_record
from penstock.runtime.settings import RuntimeSettings
from penstock.serve.control import Drained, Switch
from penstock.serve.dispatcher.carried import carried_models
from penstock.serve.engine.local_engine import LocalEngine
from penstock.serve.listen.options import ListenOptions
from penstock.serve.local_server import LocalServer
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.spec import ModelSpec, TensorSpec
from penstock.serve.switching import read_options, run_at, switch, write_options


def model(name, shape=(-1, 4)):
    tensor = TensorSpec("x", "FP32", shape)
    return ModelSpec(name, 9, 1.0, 1, (tensor,), (tensor,), ())


def test_a_model_lives_on_if_its_tensors_are_the_same():
    before = [model("a"), model("b"), model("c")]
    after = [model("c"), model("a"), model("b", (-1, 5))]
    assert carried_models(before, after) == (1, None, 0)


def test_a_model_lives_on_in_its_own_version_only():
    old, new = model("a"), replace(model("a-2"), serve_as="a", version=2)
    assert carried_models([old], [new]) == (None,)
    renamed = replace(model("a-1"), serve_as="a")
    assert carried_models([old], [new, renamed]) == (1,)


def test_the_options_of_a_server_come_back(tmp_path):
    options = ServeOptions(
        {"": "emulated", "L4": "padded"},
        rows=tmp_path / "rows",
        plan=tmp_path / "plan.json",
        listen=ListenOptions(access_log=True),
        runtimes={"L4": RuntimeSettings(threads=2)},
    )
    write_options(options, tmp_path)
    assert read_options(tmp_path) == options


class NoKeeper:
    """Workers that are nobody's business here."""

    def end_plan(self, epoch):
        """Nothing to end."""


class ToldChild:
    """A child that says what it is given to say, and keeps what it is told."""

    def __init__(self):
        self.line = self
        self.to_say, self.told = [], []

    def send(self, message):
        self.told.append(message)

    def receive(self):
        said, self.to_say = self.to_say, []
        return said


def test_a_plan_ends_when_every_gateway_has_heard_of_the_switch(tmp_path):
    """Else a gateway could tell a client of the old models after the command ``switch`` has returned."""
    loaded = load_plan(write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1)))
    spec = prepare(loaded.plan, loaded.profiles, ServeOptions({"": "emulated"}), tmp_path)
    engine = LocalEngine(spec, tmp_path, gateways=2, keeper=lambda selector, hear, warn: NoKeeper())
    engine._epochs.know(replace(spec, epoch=1, first_worker=spec.workers.stop))
    processes = [engine._dispatcher, *engine._gateways]
    for process in processes:
        process.child, process.serves = ToldChild(), 0
    engine._epochs.current = 1
    dispatcher, first, second = (process.child for process in processes)
    for child, message in ((dispatcher, Drained(0)), (first, Switch(1))):
        child.to_say.append(message)
        engine._hear(next(process for process in processes if process.child is child), child)
        engine._epochs.end_drained()
        assert second.told == []
    second.to_say.append(Switch(1))
    engine._hear(processes[2], second)
    engine._epochs.end_drained()
    assert second.told == first.told == [Drained(0)]
    engine._epochs.end_drained()
    assert second.told == [Drained(0)]


def test_a_server_that_is_not_there_is_bad_input(tmp_path):
    plan = load_plan(write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1)))
    with pytest.raises(BadInputError, match="no server runs there"):
        switch(plan.plan, plan.profiles, tmp_path, tmp_path, print)
    with pytest.raises(BadInputError, match=r"--run"):
        run_at("http://127.0.0.1:1")


def test_the_verb_wants_one_way_to_name_the_server(tmp_path):
    from click.testing import CliRunner

    done = CliRunner().invoke(cli, ["switch", str(tmp_path)])
    assert isinstance(done.exception, BadInputError)


@pytest.mark.slow
def test_a_switch_loses_no_request_and_the_old_workers_end(tmp_path):
    """Clients ask all the time while the server goes from one plan to another, and fails to go to a third."""
    path = write_skip_model(tmp_path / "skip.onnx")
    folders = [tmp_path / name for name in ("one", "two", "bad")]
    for folder in folders:
        folder.mkdir()
    one = write_plan(folders[0], skip_profile(path), (0, 1, 4), batch=1, slo_us=20_000_000)
    two = write_plan(folders[1], skip_profile(path), (0, 4), batch=2, slo_us=20_000_000, workers=2)
    values = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [1.0] * WIDTH}
    body = json.dumps({"inputs": [values]}).encode()
    answers, stop = [], threading.Event()

    def client(server):
        while not stop.is_set():
            status, _, text = ask(f"{server.url}/v2/models/skip/infer", body)
            answers.append((status, json.loads(text)["outputs"][0]["data"] if status == 200 else text))

    files = ["--record", str(tmp_path / "run"), "--journal", str(tmp_path / "journal"), "--gateways", "2"]
    with LocalServer(one, [*ALLOWANCE, *files]) as server, closing_stop(stop):
        before = set(children_of(server.pid))
        threads = [threading.Thread(target=client, args=(server,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(answers) > 20)
        loaded, said = load_plan(two), []
        run = run_at(server.url)
        switch(loaded.plan, loaded.profiles, two, run, said.append)
        count = len(answers)
        wait_until(lambda: len(answers) > count + 20)
        wait_until(lambda: len(children_of(server.pid)) == 5)
        after = set(children_of(server.pid))
        assert len(before & after) == 3  # dispatcher and gateways stay
        assert "loading 2 workers" in said
        # A plan whose sub-model goes before its worker can load it: the server goes on with what it has.
        with pytest.raises(PenstockError, match="serves on"):
            broken = load_plan(one)
            spoil = threading.Thread(target=spoil_models, args=(run,))
            spoil.start()
            switch(broken.plan, broken.profiles, one, run, said.append)
        spoil.join()
        count = len(answers)
        wait_until(lambda: len(answers) > count + 5)
        asked = len(answers)
        os.kill(
            children_of(server.pid)[0], signal.SIGKILL
        )  # the dispatcher: its successor must hear of the plan
        wait_until(lambda: "dispatcher is up again" in server.notes)
        count = len(answers)
        wait_until(lambda: len(answers) > count + 10)
        stop.set()
        for thread in threads:
            thread.join()
    bad = [answer for answer in answers[:asked] + answers[-5:] if answer[0] != 200]
    assert bad == []
    assert len({tuple(np.round(data, 4)) for status, data in answers if status == 200}) == 1
    record = load_record(tmp_path / "run")
    assert len(record.requests.request) == len(answers)
    assert Outcome.ERROR not in record.requests.outcome
    # The second plan's pipeline comes after the first's; -1 is of what was dropped while no dispatcher was there.
    assert {0, 1} <= set(record.requests.pipeline.tolist())
    assert (tmp_path / "journal.dispatcher-0-epoch-1").exists()


@contextmanager
def closing_stop(stop):
    """The clients end before the server does, also if the test fails."""
    try:
        yield
    finally:
        stop.set()


def spoil_models(run: Path) -> None:
    """Remove the sub-models of the third plan as soon as they are written."""
    wait_until(lambda: any((run / "epoch-2").glob("*.onnx")))
    wait_until(lambda: len(list((run / "epoch-2").glob("*.onnx"))) == 2)
    for path in (run / "epoch-2").glob("*.onnx"):
        path.unlink()
