"""Whole servers of plans whose stages split batches: results, the record, deaths of the worker of a piece, a switch."""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from serve_cases import bytes_profile, write_plan
from served_chain import profile_of
from test_serve_faults import join, role_of
from test_serve_live import ALLOWANCE, ask, children_of, figure, infer, wait_until

from penstock.graph.reading.onnx_reader import read_onnx
from penstock.plan.documents.store import load_plan
from penstock.profile.table import LatencyTable
from penstock.record import Outcome, load_record
from penstock.serve.dispatcher.journal import read_journal
from penstock.serve.dispatcher.journal_replay import replay_journal
from penstock.serve.local_server import LocalServer
from penstock.serve.switching import run_at, switch
from penstock.zoo import build

pytestmark = pytest.mark.slow

SIDE = 64
BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [4, 24], "datatype": "UINT8", "data": [0] * 96}]}
).encode()


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    path = tmp_path_factory.mktemp("zoo") / "squeezenet1_1.onnx"
    onnx.save(build("squeezenet1_1", image_size=SIDE), path)
    return path


def two_blocks(path):
    """A profile of a file in two blocks, with times that leave room for a busy machine."""
    model = read_onnx(path)
    operators = len(model.graph.operators)
    profile = profile_of(model, (0, operators // 2, operators))
    return replace(profile, tables={("gpu", 1): LatencyTable(np.full((2, 4), 20_000, np.int64))})


@pytest.mark.parametrize("pieces", [(2, 1), (1, 2), (2, 4)])
def test_pieces_of_a_real_model_give_what_onnxruntime_gives(squeezenet, pieces, tmp_path):
    """Requests of four samples, each a batch; one of three and one of one sample beside it."""
    profile = two_blocks(squeezenet)
    plan = write_plan(tmp_path, profile, (0, 1, 2), workers=max(pieces), slo_us=60_000_000, pieces=pieces)
    session = onnxruntime.InferenceSession(squeezenet)
    (name,), (output,) = (
        [one.name for one in ends] for ends in (session.get_inputs(), session.get_outputs())
    )
    record, journal = tmp_path / "record", tmp_path / "journal"
    rng = np.random.default_rng(3)
    with LocalServer(plan, [*ALLOWANCE, "--record", str(record), "--journal", str(journal)]) as server:
        for samples in (4, 4, 3, 1):
            x = rng.normal(size=(samples, 3, SIDE, SIDE)).astype(np.float32)
            got = infer(server, "squeezenet1_1", name, x).as_numpy(output)
            (wanted,) = session.run([output], {name: x})
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    made = load_record(record)
    assert made.requests.outcome.tolist() == [Outcome.MET] * 12
    first = made.batches.batch == made.requests.batch[0]
    even = {1: [4], 2: [2, 2], 4: [1, 1, 1, 1]}
    for stage, count in enumerate(pieces):
        rows = first & (made.batches.stage == stage)
        assert sorted(made.batches.size[rows].tolist()) == even[count]
        assert len(set(made.batches.worker[rows].tolist())) == count
    replayed = replay_journal(read_journal(journal))
    assert replayed.differing == ()
    assert replayed.batches >= 4


def emulated(folder, *, pieces=(2, 1), latency_us=400_000, slo_us=60_000_000, workers=2):
    profile = bytes_profile("sizes", (24, 16, 10), latency_us)
    return write_plan(folder, profile, (0, 1, 2), workers=workers, slo_us=slo_us, pieces=pieces)


def ask_all(server, count):
    """Threads that each ask once for four samples; and the answers: a status and the number of samples.

    The status is -1 for a connection that was lost.
    """
    answers: list[tuple[int, int]] = []

    def client():
        try:
            status, _, body = ask(f"{server.url}/v2/models/sizes/infer", BODY)
        except OSError:
            answers.append((-1, 0))
            return
        shape = json.loads(body)["outputs"][0]["shape"] if status == 200 else [0]
        answers.append((status, shape[0]))

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def worker_processes(server):
    """The process of each worker, by its number."""
    found = {}
    for pid in children_of(server.pid):
        if role_of(pid) == "worker":
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
            found[int(words[7])] = pid
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize(("pieces", "victim"), [((2, 1), 1), ((1, 2), 3)])
def test_each_request_is_answered_once_if_the_worker_of_a_piece_dies_or_hangs(
    pieces, victim, number, tmp_path
):
    """Workers 0 and 1 are of the first stage, 2 and 3 of the second. A stopped process does not answer pings."""
    record = tmp_path / "record"
    options = ["--executor", "emulated", "--record", str(record), *ALLOWANCE]
    with LocalServer(emulated(tmp_path, pieces=pieces), options) as server:
        threads, answers = ask_all(server, 6)
        wait_until(lambda: figure(server, "penstock_samples_in_flight") == 24)
        os.kill(worker_processes(server)[victim], number)
        join(threads)
        assert answers == [(200, 4)] * 6
        assert figure(server, "penstock_requests_total", model="sizes") == 6
        assert figure(server, "penstock_batch_retries_total", model="sizes") > 0
        wait_until(lambda: f"worker {victim} is up again" in server.notes)
        threads, answers = ask_all(server, 2)
        join(threads)
        assert answers == [(200, 4)] * 2
        assert figure(server, "penstock_samples_in_flight") == 0
    assert load_record(record).requests.outcome.tolist() == [Outcome.MET] * 32


def test_a_batch_that_no_route_can_save_is_answered_once_with_an_error(tmp_path):
    """Both workers of the last stage die while one of them runs it."""
    plan = emulated(tmp_path, latency_us=1_500_000, slo_us=6_000_000)
    with LocalServer(plan, ["--executor", "emulated", *ALLOWANCE]) as server:
        threads, answers = ask_all(server, 1)
        workers = worker_processes(server)
        wait_until(lambda: figure(server, "penstock_stage_execution_seconds_count", stage="0") == 2)
        for last in (2, 3):
            os.kill(workers[last], signal.SIGKILL)
        join(threads)
        (answer,) = answers
        assert answer[0] == 503
        assert figure(server, "penstock_requests_total", model="sizes", outcome="error") == 1


def test_two_gateways_share_split_batches_and_one_that_dies_costs_its_connections_only(tmp_path):
    plan = emulated(tmp_path, latency_us=100_000)
    options = ["--executor", "emulated", "--gateways", "2", "--max-queue-delay-ms", "500", *ALLOWANCE]
    with LocalServer(plan, options) as server:
        threads, answers = ask_all(server, 8)
        join(threads)
        assert answers == [(200, 4)] * 8
        gateways = [pid for pid in children_of(server.pid) if role_of(pid) == "gateway"]
        threads, answers = ask_all(server, 12)
        wait_until(lambda: figure(server, "penstock_samples_in_flight") > 4)
        os.kill(gateways[0], signal.SIGKILL)
        join(threads)
        assert len(answers) == 12
        assert set(answers) <= {(200, 4), (-1, 0)}
        wait_until(lambda: "is up again" in server.notes)
        threads, answers = ask_all(server, 4)
        join(threads)
        assert answers == [(200, 4)] * 4


def test_a_switch_and_a_drain_lose_no_request(tmp_path):
    """From a plan that splits the first stage to one that splits the last. At the end some are on their way."""
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one = emulated(folders[0], latency_us=200_000)
    two = emulated(folders[1], latency_us=200_000, pieces=(1, 2))
    record = tmp_path / "record"
    options = ["--executor", "emulated", "--record", str(record), "--drain-seconds", "60", *ALLOWANCE]
    with LocalServer(one, options) as server:
        threads, answers = ask_all(server, 4)
        wait_until(lambda: figure(server, "penstock_samples_in_flight") == 16)
        loaded = load_plan(two)
        switch(loaded.plan, loaded.profiles, two, run_at(server.url), lambda text: None)
        more, later = ask_all(server, 4)
        wait_until(lambda: len(later) > 0)
    join([*threads, *more])
    assert answers + later == [(200, 4)] * 8
    made = load_record(record)
    assert made.requests.outcome.tolist() == [Outcome.MET] * 32
    assert set(made.requests.pipeline.tolist()) == {0, 1}
