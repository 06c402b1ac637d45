"""Real servers: processes, sockets, answers. One server a test class; each ends with no process left."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tritonclient.http as triton
from geventhttpclient.response import HTTPConnectionClosed
from serve_cases import WIDTH, bytes_profile, skip_profile, write_plan, write_skip_model
from tritonclient.utils import InferenceServerException

from penstock.errors import PenstockError
from penstock.record import Outcome, load_record
from penstock.schedule.journal import replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.serve.dispatcher.journal import read_journal
from penstock.serve.local_server import LocalServer
from penstock.serve.observe.scrape import Page

pytestmark = pytest.mark.slow

# The test machine may be busy: predictions allow for it, so that nothing is dropped by its fault.
ALLOWANCE = ["--overhead-us", "60000"]
SLO_US = 2_000_000


def children_of(pid):
    """Process ids of the living children of ``pid``."""
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition, seconds=60.0):
    """Poll a fact about other processes; bounded."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.02)


def figure(server, name, **labels):
    return Page(ask(f"{server.url}/metrics")[2].decode()).total(name, **labels)


def ask(url, data=None, headers=None, method=None):
    """(status, headers, body) of a plain HTTP request."""
    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def error_of(answer):
    status, _, body = answer
    return status, json.loads(body)["error"]


def infer(server, model, name, array, *, binary=True, **options):
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    tensor = triton.InferInput(name, array.shape, triton.np_to_triton_dtype(array.dtype))
    tensor.set_data_from_numpy(array, binary_data=binary)
    try:
        return client.infer(model, [tensor], **options)
    finally:
        client.close()


@pytest.fixture(scope="module")
def skip_model(tmp_path_factory):
    return write_skip_model(tmp_path_factory.mktemp("model") / "skip.onnx")


@pytest.fixture(scope="module")
def chain(tmp_path_factory, skip_model):
    """A chain of three stages in onnxruntime; the middle one forwards two tensors that it does not touch."""
    plan = write_plan(tmp_path_factory.mktemp("chain"), skip_profile(skip_model), (0, 1, 2, 4), slo_us=SLO_US)
    with LocalServer(plan, ALLOWANCE) as server:
        yield server
        children = children_of(server.pid)
        assert len(children) == 5  # dispatcher, gateway, three workers
    assert not any(is_alive(pid) for pid in children)


class TestOnnx:
    """What a client of the protocol sees of a server of real results."""

    @pytest.mark.parametrize("binary", [True, False])
    @pytest.mark.parametrize("samples", [1, 3, 9])
    def test_results_are_those_of_a_direct_run(self, chain, skip_model, samples, binary):
        x = np.random.default_rng(samples).normal(size=(samples, WIDTH)).astype(np.float32)
        wanted = onnxruntime.InferenceSession(skip_model).run(["double", "sum"], {"x": x})
        outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("double", "sum")]
        result = infer(chain, "skip", "x", x, binary=binary, outputs=outputs, request_id="r1")
        assert result.get_response()["id"] == "r1"
        for name, array in zip(("double", "sum"), wanted, strict=True):
            np.testing.assert_allclose(result.as_numpy(name), array, rtol=1e-6, atol=1e-6)

    def test_outputs_are_chosen(self, chain):
        x = np.ones((1, WIDTH), np.float32)
        response = infer(
            chain, "skip", "x", x, outputs=[triton.InferRequestedOutput("double")]
        ).get_response()
        assert [output["name"] for output in response["outputs"]] == ["double"]

    def test_metadata(self, chain):
        client = triton.InferenceServerClient(chain.url.removeprefix("http://"))
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("skip")
        assert client.is_model_ready("skip", "1")
        assert "emulated_models" not in client.get_server_metadata()
        metadata = client.get_model_metadata("skip")
        assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, WIDTH]}]
        assert [output["name"] for output in metadata["outputs"]] == ["sum", "double"]
        config = client.get_model_config("skip")
        assert config["max_batch_size"] == 4
        assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [WIDTH]}]
        assert client.get_model_repository_index()[0]["state"] == "READY"
        client.close()

    def test_statistics_and_metrics_count(self, chain):
        x = np.ones((2, WIDTH), np.float32)
        client = triton.InferenceServerClient(chain.url.removeprefix("http://"))
        before = client.get_inference_statistics("skip")["model_stats"][0]
        infer(chain, "skip", "x", x)
        after = client.get_inference_statistics("skip")["model_stats"][0]
        client.close()
        assert after["inference_count"] - before["inference_count"] == 2
        assert (
            after["inference_stats"]["success"]["count"] - before["inference_stats"]["success"]["count"] == 1
        )
        text = ask(f"{chain.url}/metrics")[2].decode()
        assert 'penstock_requests_total{model="skip",outcome="met"}' in text
        assert Page(text).total("penstock_pool_workers_up", pool="2") == 1

    @pytest.mark.parametrize(
        ("path", "data", "method", "status", "words"),
        [
            ("/v2/models/nobody", None, "GET", 404, "no model 'nobody'"),
            ("/v2/models/skip/versions/2", None, "GET", 404, "version 1 only"),
            ("/v2/nothing", None, "GET", 404, "no such path"),
            ("/v2/models/skip/infer", None, "GET", 405, "takes POST"),
            ("/v2/models/skip", b"{}", "POST", 405, "takes GET"),
            ("/v2/models/skip/infer", b"{", "POST", 400, "JSON"),
            ("/v2/models/skip/infer", b'{"inputs":[]}', "POST", 400, "takes the inputs"),
            (
                "/v2/models/skip/infer",
                b'{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}',
                "POST",
                400,
                "has shape",
            ),
            (
                "/v2/models/skip/infer",
                b'{"inputs":[{"name":"x","shape":[1,1],"datatype":"INT32","data":[1]}]}',
                "POST",
                400,
                "is FP32",
            ),
        ],
    )
    def test_errors(self, chain, path, data, method, status, words):
        got, text = error_of(ask(chain.url + path, data, method=method))
        assert got == status
        assert words in text

    def test_a_bad_header_length_is_refused(self, chain):
        headers = {"Inference-Header-Content-Length": "many"}
        status, text = error_of(ask(f"{chain.url}/v2/models/skip/infer", b"{}", headers))
        assert status == 400
        assert "whole number" in text

    def test_a_client_that_asks_first_is_told_to_continue(self, chain):
        address = chain.url.removeprefix("http://").split(":")
        head = "POST /v2/models/skip/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        with socket.create_connection((address[0], int(address[1])), timeout=20) as client:
            client.sendall(head.encode())
            assert client.recv(1_000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"{}")
            assert client.recv(1_000).startswith(b"HTTP/1.1 400")

    def test_a_deadline_that_cannot_be_met_is_answered_504(self, chain):
        x = np.ones((1, WIDTH), np.float32)
        with pytest.raises(InferenceServerException, match="504") as caught:
            infer(chain, "skip", "x", x, timeout=2_000)
        assert "2000 us can no longer be met" in str(caught.value)

    def test_many_clients_at_once_get_their_own_results(self, chain, skip_model):
        session = onnxruntime.InferenceSession(skip_model)
        wrong = []

        def client(number):
            x = np.random.default_rng(number).normal(size=(1 + number % 3, WIDTH)).astype(np.float32)
            got = infer(chain, "skip", "x", x).as_numpy("sum")
            if not np.allclose(got, session.run(["sum"], {"x": x})[0], rtol=1e-5, atol=1e-5):
                wrong.append(number)

        threads = [threading.Thread(target=client, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []


def test_record_and_journal_of_a_run(tmp_path, skip_model):
    """The record holds every sample; the journal, replayed through a fresh policy, gives the same decisions."""
    plan = write_plan(tmp_path, skip_profile(skip_model), (0, 1, 2, 4), slo_us=SLO_US)
    files = ["--record", str(tmp_path / "record"), "--journal", str(tmp_path / "journal")]
    x = np.ones((6, WIDTH), np.float32)
    with LocalServer(plan, [*ALLOWANCE, *files]) as server:
        infer(server, "skip", "x", x)
        with pytest.raises(InferenceServerException):
            infer(server, "skip", "x", x[:1], timeout=1_000)
    record = load_record(tmp_path / "record")
    requests, batches = record.requests, record.batches
    assert record.models == ("skip",)
    assert record.source == "measured"
    assert requests.request.tolist() == list(range(7))
    dropped = (Outcome.DROPPED_EARLY, Outcome.DROPPED_DEADLINE)
    assert requests.outcome[-1] in dropped
    assert set(requests.outcome[:-1].tolist()) <= {Outcome.MET, Outcome.LATE}
    assert sorted(np.unique(requests.batch[:-1], return_counts=True)[1].tolist()) == [2, 4]
    assert len(batches.batch) == 2 * 3
    assert (batches.start_us >= batches.queued_us).all()
    assert (batches.end_us >= batches.start_us).all()
    assert (batches.transfer_us >= 0).all()
    for batch in (0, 1):
        rows = batches.batch == batch
        assert batches.stage[rows].tolist() == [0, 1, 2]
        assert (batches.queued_us[rows][1:] >= batches.end_us[rows][:-1]).all()
    journal = read_journal(tmp_path / "journal")
    policy = ReservationPolicy(
        journal.table,
        rule=journal.policy,
        dispatch_us=journal.dispatch_us,
        overhead_us=journal.overhead_us,
        max_queue_delay_us=journal.max_queue_delay_us,
    )
    assert replay(policy, journal.events) == journal.decisions
    assert sum(len(decision.dispatches) for decision in journal.decisions) == 2


def test_two_models_on_shared_pools(tmp_path):
    """Either model runs on the workers of both, with its own results; record and journal stay right."""
    profiles, paths = [], []
    for seed, name in enumerate(("skip", "other")):
        paths.append(write_skip_model(tmp_path / f"{name}.onnx", seed))
        profiles.append(replace(skip_profile(paths[-1]), model=name))
    plan = write_plan(tmp_path, profiles[0], (0, 2, 4), batch=1, slo_us=SLO_US, beside=profiles[1:])
    files = ["--record", str(tmp_path / "record"), "--journal", str(tmp_path / "journal")]
    x = np.random.default_rng(1).normal(size=(4, WIDTH)).astype(np.float32)
    with LocalServer(plan, [*ALLOWANCE, "--policy", "penstock", *files]) as server:
        assert len(children_of(server.pid)) == 2 + 4  # one worker a stage is planned for each model
        # Ready means one worker a stage; the others report a moment later.
        for _ in range(2_000):
            page = Page(ask(f"{server.url}/metrics")[2].decode())
            up = page.by("penstock_pool_workers_up", "pool")
            if set(up.values()) == {2}:
                break
        assert up == {("0",): 2, ("1",): 2}
        for path, profile in zip(paths, profiles, strict=True):
            wanted = onnxruntime.InferenceSession(path).run(["double", "sum"], {"x": x})
            result = infer(server, profile.model, "x", x)
            for name, array in zip(("double", "sum"), wanted, strict=True):
                np.testing.assert_allclose(result.as_numpy(name), array, rtol=1e-6, atol=1e-6)
    record = load_record(tmp_path / "record")
    batches = record.batches
    assert sorted(zip(batches.model.tolist(), batches.stage.tolist(), strict=True)) == [
        (model, stage) for model in (0, 1) for stage in (0, 1) for _ in range(4)
    ]
    # Workers in the plan's order: stages 0 and 1 of the first model, then of the other.
    workers = {(m, s): set() for m in (0, 1) for s in (0, 1)}
    for model, stage, worker in zip(batches.model, batches.stage, batches.worker, strict=True):
        workers[int(model), int(stage)].add(int(worker))
    assert workers[0, 0] == workers[1, 0] == {0, 2}
    assert workers[0, 1] | workers[1, 1] <= {1, 3}
    journal = read_journal(tmp_path / "journal")
    policy = ReservationPolicy(
        journal.table,
        rule=journal.policy,
        dispatch_us=journal.dispatch_us,
        overhead_us=journal.overhead_us,
    )
    assert journal.table.pool_of_worker.tolist() == [0, 1, 0, 1]
    assert replay(policy, journal.events) == journal.decisions


class TestEmulated:
    """Two workers a stage, no model at all; batches of one, so requests leave at once."""

    @pytest.fixture
    def server(self, tmp_path):
        profile = bytes_profile("sizes", (24, 1_000, 10), latency_us=400_000)
        plan = write_plan(tmp_path, profile, (0, 1, 2), workers=2, batch=1, slo_us=30_000_000)
        with LocalServer(plan, ["--executor", "emulated", "--max-body-mb", "1", *ALLOWANCE]) as server:
            yield server

    def test_says_so_answers_zeros_and_refuses_what_is_too_large(self, server):
        _, _, body = ask(f"{server.url}/v2")
        assert json.loads(body)["emulated_models"] == ["sizes"]
        result = infer(server, "sizes", "input", np.ones((1, 24), np.uint8))
        np.testing.assert_array_equal(result.as_numpy("output"), np.zeros((1, 10), np.uint8))
        status, text = error_of(ask(f"{server.url}/v2/models/sizes/infer", b" " * (2**20 + 1)))
        assert status == 413
        assert "limit" in text

    def ask_twice(self, server):
        """Two clients; returns their threads once both requests are admitted, and where the answers go."""
        answers = []

        def client():
            try:
                answers.append(infer(server, "sizes", "input", np.ones((1, 24), np.uint8)).get_response())
            except (InferenceServerException, OSError, HTTPConnectionClosed) as error:
                answers.append(str(error))

        threads = [threading.Thread(target=client) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_until(lambda: figure(server, "penstock_samples_in_flight") == 2)
        return threads, answers

    def test_a_killed_worker_comes_back_and_its_batch_goes_another_way(self, server):
        """Each of the two first-stage workers holds a request; one dies with it."""
        workers = children_of(server.pid)[2:]
        threads, answers = self.ask_twice(server)
        os.kill(workers[0], signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert [isinstance(answer, str) for answer in answers] == [False, False], answers
        wait_until(lambda: figure(server, "penstock_pool_workers_up", pool="0") == 2)
        assert "worker 0 died (killed by signal 9)" in server.notes
        infer(server, "sizes", "input", np.ones((2, 24), np.uint8))

    def test_a_stopped_worker_is_replaced_and_its_batch_goes_another_way(self, server):
        workers = children_of(server.pid)[2:]
        threads, answers = self.ask_twice(server)
        os.kill(workers[0], signal.SIGSTOP)
        for thread in threads:
            thread.join()
        assert [isinstance(answer, str) for answer in answers] == [False, False], answers
        assert "it hung: no answer to a ping" in server.notes

    def test_a_dispatcher_that_dies_learns_from_the_gateway_what_waits(self, server):
        threads, answers = self.ask_twice(server)
        os.kill(children_of(server.pid)[0], signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert [isinstance(answer, str) for answer in answers] == [False, False], answers
        wait_until(lambda: "dispatcher is up again" in server.notes)
        infer(server, "sizes", "input", np.ones((2, 24), np.uint8), timeout=30_000_000)

    def test_a_gateway_that_dies_costs_its_connections(self, server):
        threads, answers = self.ask_twice(server)
        os.kill(children_of(server.pid)[1], signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert [isinstance(answer, str) for answer in answers] == [True, True]
        wait_until(lambda: "gateway 0 is up again" in server.notes)
        infer(server, "sizes", "input", np.ones((2, 24), np.uint8))

    def test_a_stage_without_workers_is_not_ready(self, server):
        for pid in children_of(server.pid)[4:]:
            os.kill(pid, signal.SIGSTOP)  # keeps the restarted ones from being confused with these
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: ask(f"{server.url}/v2/health/ready")[0] == 503)
        wait_until(lambda: ask(f"{server.url}/v2/health/ready")[0] == 200)

    def test_children_end_when_the_supervisor_is_killed(self, tmp_path):
        (tmp_path / "other").mkdir()
        plan = write_plan(tmp_path / "other", bytes_profile("sizes", (24, 10)), (0, 1))
        server = LocalServer(plan, ["--executor", "emulated"])
        with pytest.raises(PenstockError, match="status -9"), server:
            children = children_of(server.pid)
            folder = Path(f"/proc/{children[0]}/cmdline").read_bytes().split(b"\0")[4]
            os.kill(server.pid, signal.SIGKILL)
            wait_until(lambda: not any(is_alive(pid) for pid in children))
        assert folder.startswith(b"/")
        assert not Path(folder.decode()).exists()


def test_a_stop_answers_what_is_in_flight(tmp_path):
    profile = bytes_profile("sizes", (24, 10), latency_us=700_000)
    plan = write_plan(tmp_path, profile, (0, 1), batch=1, slo_us=30_000_000)
    shapes = []
    with LocalServer(plan, ["--executor", "emulated", *ALLOWANCE]) as server:
        thread = threading.Thread(
            target=lambda: shapes.append(
                infer(server, "sizes", "input", np.ones((1, 24), np.uint8)).as_numpy("output").shape
            )
        )
        thread.start()
        wait_until(lambda: figure(server, "penstock_samples_in_flight") == 1)
    thread.join()
    assert shapes == [(1, 10)]


def run_serve(*arguments):
    command = [
        sys.executable,
        "-c",
        "from penstock.cli.main import main; main()",
        "serve",
        *map(str, arguments),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_port_in_use_is_bad_input(tmp_path):
    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_serve(plan, "--executor", "emulated", "--http", f"127.0.0.1:{taken.getsockname()[1]}")
    assert done.returncode == 2
    assert "cannot listen on 127.0.0.1" in done.stderr


def test_a_profile_without_a_model_must_be_emulated(tmp_path):
    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1))
    done = run_serve(plan, "--http", "127.0.0.1:0")
    assert done.returncode == 2
    assert "--executor emulated" in done.stderr


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_seconds_stop_the_server_by_itself(tmp_path, log_format):
    """Every line of its log has a time and a level, and is JSON if that is asked for."""
    plan = write_plan(tmp_path, bytes_profile("sizes", (24, 10)), (0, 1))
    options = ("--http", "127.0.0.1:0", "--seconds", "0.2", "--log-format", log_format)
    done = run_serve(plan, "--executor", "emulated", *options)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    if log_format == "text":
        begin = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (INFO|WARNING) penstock\.\w+: ")
        assert all(begin.match(line) for line in lines), done.stderr
        messages = [begin.sub("", line) for line in lines]
    else:
        documents = [json.loads(line) for line in lines]
        assert {one["level"] for one in documents} <= {"info", "warning"}
        messages = [one["message"] for one in documents]
    assert sum(text.startswith("ready: http://127.0.0.1:") for text in messages) == 1


def test_a_model_changed_since_it_was_profiled_is_refused(tmp_path):
    path = write_skip_model(tmp_path / "skip.onnx")
    plan = write_plan(tmp_path, skip_profile(path), (0, 4))
    changed = onnx.load(path)
    changed.doc_string = "changed"
    onnx.save(changed, path)
    done = run_serve(plan, "--http", "127.0.0.1:0")
    assert done.returncode == 2
    assert "SHA-256 differs" in done.stderr
