"""Faults of a whole server of two gateways: signals, deaths while it starts, files that are gone, and the record."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from serve_cases import WIDTH, bytes_profile, skip_profile, write_plan, write_skip_model
from test_serve_live import ALLOWANCE, ask, children_of, figure, is_alive, wait_until

from penstock.record import Outcome, load_record
from penstock.report.summary import summarise
from penstock.serve.local_server import LocalServer

pytestmark = pytest.mark.slow

BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [0] * 24}]}
).encode()


def infer_url(server):
    return f"{server.url}/v2/models/sizes/infer"


def clients(server, count, answers):
    """Threads that each ask once; ``answers`` gets statuses, -1 for a connection that was lost."""

    def client():
        try:
            answers.append(ask(infer_url(server), BODY)[0])
        except OSError:
            answers.append(-1)

    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads


def join(threads):
    for thread in threads:
        thread.join(40)
        assert not thread.is_alive()


def in_flight(server):
    """Samples in flight at the gateway that answers."""
    text = ask(f"{server.url}/metrics")[2].decode()
    lines = [line for line in text.splitlines() if line.startswith("penstock_samples_in_flight ")]
    return float(lines[0].split()[1])


def emulated(tmp_path, *, latency_us=300_000, workers=2, batch=1, cuts=(0, 1), slo_us=30_000_000):
    sizes = (24, *[16] * (len(cuts) - 2), 10)
    return write_plan(
        tmp_path, bytes_profile("sizes", sizes, latency_us), cuts, workers=workers, batch=batch, slo_us=slo_us
    )


def role_of(pid):
    """What a child is there for; empty while it is not yet the new program, and once it is gone."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return words[3] if len(words) > 3 else ""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A server whose batches of four wait for company for a second: so they hold requests of both gateways."""
    folder = tmp_path_factory.mktemp("two")
    plan = emulated(folder, latency_us=100_000, batch=4, slo_us=20_000_000, workers=1, cuts=(0, 1, 2))
    options = [
        "--max-queue-delay-ms",
        "1000",
        "--executor",
        "emulated",
        "--gateways",
        "2",
        "--record",
        str(folder / "record"),
        *ALLOWANCE,
    ]
    with LocalServer(plan, options) as server:
        yield server
    record = load_record(folder / "record")
    assert not (folder / "record.live").exists()
    by_batch = {}
    for batch, request in zip(record.requests.batch.tolist(), record.requests.request.tolist(), strict=True):
        by_batch.setdefault(batch, set()).add(request >> 40)
    mixed = [owners for batch, owners in by_batch.items() if batch >= 0 and len(owners) > 1]
    assert mixed, "no batch was of both gateways"
    assert set(record.requests.outcome.tolist()) <= {Outcome.MET, Outcome.LATE, Outcome.ERROR}


class TestTwoGateways:
    """Two processes, one address."""

    def test_both_serve_one_address_and_share_batches(self, two):
        """The system gives connections to either; of 16 clients all with one is a chance of 2^-15."""
        answers = []
        for _ in range(3):  # on a busy machine the clients of one round may come one after another
            join(clients(two, 16, answers))
        assert answers == [200] * 48

    def test_one_that_dies_costs_its_connections_only(self, two):
        answers = []
        threads = clients(two, 16, answers)
        gateways = [pid for pid in children_of(two.pid) if role_of(pid) == "gateway"]
        wait_until(lambda: sum(1 for thread in threads if thread.is_alive()) == 16 and in_flight(two) > 1)
        os.kill(gateways[0], signal.SIGKILL)
        join(threads)
        assert set(answers) <= {200, -1}
        assert 0 < answers.count(200) < 16, answers
        wait_until(lambda: "is up again" in two.notes)
        after = []
        join(clients(two, 8, after))
        assert after == [200] * 8


def test_a_dispatcher_and_a_gateway_that_hang_are_replaced(tmp_path):
    """Stopped, they are not dead, so only their silence tells. What waits for the dispatcher is answered."""
    plan = emulated(tmp_path, latency_us=1_000, slo_us=60_000_000)
    with LocalServer(plan, ["--executor", "emulated", "--gateways", "2", *ALLOWANCE]) as server:
        for role, died in (("dispatcher", "dispatcher"), ("gateway", r"gateway \d")):
            stopped = next(pid for pid in children_of(server.pid) if role_of(pid) == role)
            os.kill(stopped, signal.SIGSTOP)
            answers = []
            threads = clients(server, 8, answers)
            for note in (rf"{died} died \(it hung: no answer for [\d.]+ s\)", f"{died} is up again"):
                wait_until(lambda wanted=note: re.search(wanted, server.notes))
            assert not is_alive(stopped)
            join(threads)
            assert len(answers) == 8
            assert set(answers) <= ({200} if role == "dispatcher" else {200, -1}), answers
            after = []
            join(clients(server, 8, after))
            assert after == [200] * 8


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_whole_group_drains(tmp_path, number):
    """As systemd and timeout do it: every process gets the signal at once."""
    plan = emulated(tmp_path, latency_us=700_000)
    server = LocalServer(plan, ["--executor", "emulated", "--record", str(tmp_path / "run"), *ALLOWANCE])
    answers = []
    with server:
        threads = clients(server, 2, answers)
        wait_until(lambda: in_flight(server) == 2)
        for pid in [*children_of(server.pid), server.pid]:
            os.kill(pid, number)
        join(threads)
    assert answers == [200, 200]
    assert load_record(tmp_path / "run").requests.outcome.tolist() == [Outcome.MET] * 2


def test_a_drain_has_the_time_that_was_asked_for(tmp_path):
    plan = emulated(tmp_path, latency_us=2_000_000)
    answers = []
    with LocalServer(plan, ["--executor", "emulated", "--drain-seconds", "0.1", *ALLOWANCE]) as server:
        threads = clients(server, 1, answers)
        wait_until(lambda: in_flight(server) == 1)
    join(threads)
    assert answers == [503]


@pytest.fixture
def short():
    """A temporary folder with a short path, so that the run's folder lies in it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        yield Path(folder)


def start(plan, *arguments):
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", "serve", str(plan)]
    options = ["--http", "127.0.0.1:0", *arguments]
    return subprocess.Popen([*command, *options], stderr=subprocess.PIPE, text=True)


def test_a_signal_while_it_starts_leaves_nothing(tmp_path, short, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short))
    plan = write_plan(tmp_path, skip_profile(write_skip_model(tmp_path / "skip.onnx")), (0, 1, 2, 4))
    process = start(plan, "--record", str(tmp_path / "run"))
    wait_until(lambda: list(short.glob("penstock-*")) or process.poll() is not None)
    process.send_signal(signal.SIGTERM)
    _, text = process.communicate(timeout=60)
    assert "Traceback" not in text
    assert list(short.glob("penstock-*")) == []
    assert not (tmp_path / "run.live").exists()


def test_the_record_is_whole_after_the_first_stage_died_and_after_a_kill(tmp_path):
    """The rows are there while the server runs, and stay if it is killed; a record can be made of them."""
    from penstock.serve.live_record import joined_record

    plan = emulated(tmp_path, latency_us=20_000)
    server = LocalServer(plan, ["--executor", "emulated", "--record", str(tmp_path / "run"), *ALLOWANCE])
    with pytest.raises(Exception, match="status -9"), server:
        answers = []
        for _ in range(2):
            join(clients(server, 3, answers))
            worker = next(pid for pid in children_of(server.pid) if role_of(pid) == "worker")
            os.kill(worker, signal.SIGKILL)
        rows = tmp_path / "run.live"
        assert len(answers) == 6
        # Gateway and dispatcher write their rows each second, each in its own time.
        wait_until(lambda: len(joined_record(rows).requests.request) == 6)
        wait_until(lambda: len(joined_record(rows).batches.batch) == 6)
        os.kill(server.pid, signal.SIGKILL)
    record = joined_record(rows)
    assert record.requests.outcome.tolist() == [Outcome.MET] * 6
    assert len(record.batches.batch) == 6
    refused = start(plan, "--executor", "emulated", "--record", str(tmp_path / "run"))
    _, text = refused.communicate(timeout=60)
    assert refused.returncode == 2
    assert "join-record" in text


def test_a_model_file_that_is_gone_at_a_restart_is_named_and_the_others_serve_on(tmp_path):
    path = write_skip_model(tmp_path / "skip.onnx")
    plan = write_plan(tmp_path, skip_profile(path), (0, 4), workers=2, batch=1, slo_us=20_000_000)
    values = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": [1.0] * WIDTH}
    body = json.dumps({"inputs": [values]}).encode()
    with LocalServer(plan, ALLOWANCE) as server:
        worker = next(pid for pid in children_of(server.pid) if role_of(pid) == "worker")
        folder = Path(Path(f"/proc/{worker}/cmdline").read_text().split("\0")[4])
        (model,) = folder.glob("model-*.onnx")
        model.unlink()
        os.kill(worker, signal.SIGKILL)
        wait_until(lambda: "worker 0 could not start" in server.notes)
        assert f"{model}: the sub-model is gone" in server.notes
        assert ask(f"{server.url}/v2/models/skip/infer", body)[0] == 200


def test_a_client_that_goes_away_takes_its_waiting_request_with_it(tmp_path):
    """While the only worker is busy, the second request waits for others to fill its batch; its client leaves."""
    plan = emulated(tmp_path, latency_us=2_000_000, workers=1, batch=4, slo_us=30_000_000)
    options = ["--executor", "emulated", "--record", str(tmp_path / "record"), *ALLOWANCE]
    with LocalServer(plan, options) as server:
        answers = []
        threads = clients(server, 1, answers)
        wait_until(lambda: in_flight(server) == 1)
        host, port = server.url.removeprefix("http://").split(":")
        head = f"POST /v2/models/sizes/infer HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n\r\n"
        with socket.create_connection((host, int(port)), timeout=20) as client:
            client.sendall(head.encode() + BODY)
            wait_until(lambda: in_flight(server) == 2)
        join(threads)
        assert answers == [200]
        wait_until(lambda: in_flight(server) == 0)
        assert figure(server, "penstock_requests_total", model="sizes", outcome="cancelled") == 1
    record = load_record(tmp_path / "record")
    assert record.requests.outcome.tolist() == [Outcome.MET, Outcome.CANCELLED]
    (summary,) = summarise(record)
    assert (summary.attainment, summary.judged) == (1.0, 1)


def test_a_model_that_takes_seconds_becomes_ready(tmp_path):
    """The warm-up of the dispatcher asks with a deadline that every model meets."""
    plan = emulated(tmp_path, latency_us=1_500_000, batch=4, slo_us=20_000_000)
    with LocalServer(plan, ["--executor", "emulated", *ALLOWANCE]) as server:
        assert ask(f"{server.url}/v2/health/ready")[0] == 200


def test_what_a_kill_of_every_process_leaves_is_removed_at_the_next_start(tmp_path, short, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short))
    plan = emulated(tmp_path)
    server = LocalServer(plan, ["--executor", "emulated", *ALLOWANCE])
    with pytest.raises(Exception, match="status -9"), server:
        everyone = [server.pid, *children_of(server.pid)]
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)  # so that none can remove anything
        for pid in reversed(everyone):
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(is_alive(pid) for pid in everyone[1:]))
    (left,) = short.glob("penstock-*")
    with LocalServer(plan, ["--executor", "emulated", *ALLOWANCE]) as server:
        assert not left.exists()
        assert f"removed {left}" in server.notes
        assert len(list(short.glob("penstock-*"))) == 1
    assert list(short.glob("penstock-*")) == []


def test_nothing_is_left_after_a_stop(tmp_path, short, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(short))
    plan = emulated(tmp_path, latency_us=10_000)
    with LocalServer(plan, ["--executor", "emulated", "--gateways", "2", "--standby", *ALLOWANCE]) as server:
        wait_until(lambda: sum(role_of(pid) == "dispatcher" for pid in children_of(server.pid)) == 2)
        children = children_of(server.pid)
        os.kill(children[0], signal.SIGKILL)
        wait_until(lambda: "the standby takes over" in server.notes)
        wait_until(lambda: "dispatcher is up again" in server.notes)
        assert ask(infer_url(server), BODY)[0] == 200
        wait_until(lambda: sum(role_of(pid) == "dispatcher" for pid in children_of(server.pid)) == 2)
        children += children_of(server.pid)
    assert not any(is_alive(pid) for pid in children)
    assert list(short.iterdir()) == []
