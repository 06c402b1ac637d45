"""Gateways on other hosts than the head's: answers, counters, the record, and what the loss of each part costs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("zmq")

import loopback_hosts
from click.testing import CliRunner
from serve_cases import WIDTH, bytes_profile, skip_profile, write_plan, write_skip_model
from test_rehearsed_hosts import rights  # noqa: F401 - a fixture
from test_serve_live import ask, children_of, is_alive, wait_until

from penstock.cli.main import cli
from penstock.errors import BadInputError, PenstockError
from penstock.record import Outcome, load_record
from penstock.serve import local_server
from penstock.serve.hosts.rehearsal import _run
from penstock.serve.local_server import LocalServer
from penstock.serve.messages import owner_of
from penstock.serve.observe.scrape import Page

pytestmark = pytest.mark.slow

STAGE_US = 500_000
OPTIONS = ["--rehearse-hosts", "--executor", "emulated", "--overhead-us", "300000", "--drain-seconds", "20"]
BODY = json.dumps(
    {"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [0] * 24}]}
).encode()
PATH = "/v2/models/sizes/infer"
BACK_S = 60.0


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    """Two stages, two workers each, every worker on a host of its own, and time enough to lose a process or two.

    On a busy machine a worker may be given up because it does not answer in time: then the other one serves.
    """
    profile = bytes_profile("sizes", (24, 16, 10), STAGE_US)
    return write_plan(
        tmp_path_factory.mktemp("plan"), profile, (0, 1, 2), workers=2, batch=1, slo_us=30_000_000
    )


@pytest.fixture
def serving(plan, monkeypatch):
    monkeypatch.setattr(local_server, "_RUN", loopback_hosts.COMMAND)
    return lambda *options: LocalServer(plan, [*OPTIONS, "--gateways-on", "gpu:1", *options], ready_s=240)


def elsewhere(server):
    """The URL of the gateway on the other host."""
    return "http://" + re.findall(r"host gpu:1: gateways at (\S+)", server.notes)[-1].rstrip(",")


def gateway_of(server):
    """The process of the gateway on the other host."""
    agents = dict(re.findall(r"the agent of (gpu:\d) is (\d+)", server.notes))
    (found,) = [pid for pid in children_of(int(agents["gpu:1"])) if "gateway" in words(pid)]
    return found


def words(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except FileNotFoundError:
        return []


def is_ready(url):
    """Whether a gateway listens there, and takes requests."""
    try:
        return ask(f"{url}/v2/health/ready")[0] == 200
    except OSError:
        return False


def answered(url, body=BODY, path=PATH, headers=None):
    """(status, text) of a request, asked again while it is 503: on a busy machine workers may be gone for a moment."""
    end = time.monotonic() + BACK_S
    while True:
        status, _, text = ask(url + path, body, headers)
        if status != 503 or time.monotonic() > end:
            return status, text
        time.sleep(0.5)


def status_of(url, headers=None):
    return answered(url, headers=headers)[0]


class Asking:
    """Requests that are sent at once, each in a thread of its own."""

    def __init__(self, url, count):
        self.statuses = []
        self._threads = [threading.Thread(target=self._ask, args=(url,)) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _ask(self, url):
        try:
            self.statuses.append(status_of(url))
        except OSError:
            self.statuses.append("lost")

    def all(self):
        for thread in self._threads:
            thread.join(120)
            assert not thread.is_alive()
        return self.statuses


def in_flight(url):
    """Samples that wait or run; those of other hosts a second ago."""
    return page_of(url).total("penstock_samples_in_flight")


def page_of(url):
    return Page(ask(f"{url}/metrics")[2].decode())


def test_any_gateway_answers_and_counts_for_all_and_the_record_has_every_request(serving, tmp_path):
    with serving("--record", str(tmp_path / "record")) as server:
        there = elsewhere(server)
        assert there.startswith("http://127.0.0.3:")
        assert [status_of(url) for url in (server.url, there, there)] == [200, 200, 200]
        for url in (server.url, there):
            wait_until(lambda url=url: page_of(url).total("penstock_requests_total", outcome="met") == 3)
        last = Asking(there, 2)
        wait_until(lambda: in_flight(there) == 2)
    assert last.all() == [200, 200]  # the gateway drained before it ended
    requests = load_record(tmp_path / "record").requests
    met = requests.outcome == Outcome.MET
    assert met.sum() == 5
    assert (requests.batch[met] >= 0).all()


def test_a_batch_holds_samples_of_gateways_of_two_hosts_and_each_gets_its_own(tmp_path, monkeypatch):
    """Two stages, slow enough that requests gather; every answer is that of onnxruntime."""
    monkeypatch.setattr(local_server, "_RUN", loopback_hosts.COMMAND)
    model = write_skip_model(tmp_path / "skip.onnx")
    plan = write_plan(
        tmp_path, skip_profile(model, 100_000), (0, 2, 4), workers=2, batch=4, slo_us=30_000_000
    )
    options = ["--rehearse-hosts", "--executor", "padded", "--overhead-us", "300000"]
    rows = np.random.default_rng(5).normal(size=(24, 1, WIDTH)).astype(np.float32)
    session = onnxruntime.InferenceSession(model)
    with LocalServer(
        plan, [*options, "--gateways-on", "gpu:1", "--record", str(tmp_path / "record")], ready_s=240
    ) as server:
        urls = [server.url, elsewhere(server)]

        def asked(number):
            data = rows[number].ravel().tolist()
            values = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": data}
            body = json.dumps({"inputs": [values]}).encode()
            return answered(urls[number % 2], body, "/v2/models/skip/infer")

        with ThreadPoolExecutor(len(rows)) as pool:
            answers = list(pool.map(asked, range(len(rows))))
    for row, (status, text) in zip(rows, answers, strict=True):
        assert status == 200, (text, server.notes)
        outputs = {one["name"]: one["data"] for one in json.loads(text)["outputs"]}
        wanted = dict(zip(("sum", "double"), session.run(["sum", "double"], {"x": row}), strict=True))
        for name, array in wanted.items():
            np.testing.assert_allclose(outputs[name], array[0], rtol=1e-4, atol=1e-5)
    requests = load_record(tmp_path / "record").requests
    gateways = {}
    for unit, batch in zip(requests.request.tolist(), requests.batch.tolist(), strict=True):
        gateways.setdefault(batch, set()).add(owner_of(unit))
    assert {0, 1} in gateways.values()


def test_a_gateway_that_is_killed_or_hangs_costs_its_own_connections_only(serving):
    with serving() as server:
        there = elsewhere(server)
        for end, ends in ((signal.SIGKILL, "killed by signal 9"), (signal.SIGSTOP, "it hung")):
            ups = server.notes.count("gateway 1 on host gpu:1 is up again")
            pid = gateway_of(server)
            own, other = Asking(there, 3), Asking(server.url, 3)
            wait_until(lambda: in_flight(there) >= 3 and in_flight(server.url) >= 3)
            os.kill(pid, end)
            assert own.all() == ["lost"] * 3
            assert other.all() == [200] * 3
            wait_until(lambda n=ups: server.notes.count("gateway 1 on host gpu:1 is up again") > n, BACK_S)
            assert f"gateway 1 on host gpu:1 died ({ends}" in server.notes
            assert not is_alive(pid)
            wait_until(lambda: is_ready(there), BACK_S)
            assert status_of(there) == 200


def test_a_new_dispatcher_learns_what_waits_at_a_gateway_elsewhere(serving):
    with serving() as server:
        there = elsewhere(server)
        waiting = Asking(there, 6)
        wait_until(lambda: in_flight(there) == 6)
        (dispatcher,) = [pid for pid in children_of(server.pid) if "dispatcher" in words(pid)]
        os.kill(dispatcher, signal.SIGKILL)
        assert waiting.all() == [200] * 6
        assert "dispatcher died" in server.notes


def test_a_host_that_ends_takes_its_gateway_along_and_both_come_back(serving):
    with serving() as server:
        agents = dict(re.findall(r"the agent of (gpu:\d) is (\d+)", server.notes))
        os.kill(int(agents["gpu:1"]), signal.SIGKILL)
        wait_until(lambda: "host gpu:1 is back" in server.notes, BACK_S)
        wait_until(lambda: "gateway 1 on host gpu:1 is up again" in server.notes, BACK_S)
        there = elsewhere(server)
        wait_until(lambda: is_ready(there), BACK_S)
        assert status_of(there) == 200


def test_a_switch_of_plans_reaches_a_gateway_elsewhere(serving, plan):
    with serving() as server:
        there = elsewhere(server)
        waiting = Asking(there, 3)
        wait_until(lambda: in_flight(there) == 3)
        verb = ["switch", str(plan), "--url", server.url]
        done = subprocess.run(
            [sys.executable, "-c", "from penstock.cli.main import main; main()", *verb],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert waiting.all() == [200] * 3
        assert status_of(there) == 200


def test_tokens_are_asked_for_elsewhere_too(serving, tmp_path):
    token = "of-a-length-that-nobody-guesses"
    (tmp_path / "tokens").write_text(token + "\n")
    (tmp_path / "tokens").chmod(0o600)
    with serving("--token-file", str(tmp_path / "tokens")) as server:
        there = elsewhere(server)
        assert ask(there + PATH, BODY)[0] == 401
        assert status_of(there, {"Authorization": f"Bearer {token}"}) == 200


def test_an_address_that_is_taken_elsewhere_is_named(plan, monkeypatch):
    """A port of 127.0.0.3 is another program's."""
    import socket

    monkeypatch.setattr(local_server, "_RUN", loopback_hosts.COMMAND)
    with socket.create_server(("127.0.0.3", 0)) as other:
        port = other.getsockname()[1]
        arguments = [*OPTIONS, "--gateways-on", "gpu:1", "--http", f"127.0.0.1:{port}"]
        with pytest.raises(PenstockError, match=f"could not start: cannot listen on 127.0.0.3:{port}"):
            LocalServer(plan, arguments, ready_s=240).__enter__()


def refused(*arguments):
    done = CliRunner().invoke(cli, ["serve", *map(str, arguments), "--http", "127.0.0.1:0"])
    assert isinstance(done.exception, BadInputError), done.exception
    return str(done.exception)


def test_hosts_that_cannot_be_are_refused(plan):
    assert "all is served on this one" in refused(plan, "--gateways-on", "gpu:1", "--executor", "emulated")
    said = refused(plan, *OPTIONS, "--gateways-on", "gpu:7")
    assert said == "--gateways-on 'gpu:7' must be a host of the plan: gpu:0, gpu:1, gpu:2, gpu:3; or all."


@pytest.mark.hosts
def test_a_cut_link_is_answered_with_503_and_not_with_silence(rights, plan):  # noqa: F811
    """The clients are on the host itself, and so reach its gateway although nobody else does."""
    with LocalServer(plan, [*OPTIONS, "--gateways-on", "gpu:1"], ready_s=240) as server:
        there = elsewhere(server)
        space = dict(re.findall(r"host (gpu:\d) is network namespace (\S+)", server.notes))["gpu:1"]
        inside = ["ip", "netns", "exec", space, sys.executable, "-c", CLIENT, there + PATH, BODY.decode()]
        link = f"ps{server.pid}-1"
        waiting = [subprocess.Popen(inside, stdout=subprocess.PIPE, text=True) for _ in range(4)]
        wait_until(lambda: in_flight(there) == 4)
        _run("ip", "link", "set", link, "down")
        # What waited is refused when the silence is noticed; the first ones may have been answered before the cut.
        said = [one.communicate(timeout=60)[0].strip() for one in waiting]
        assert set(said) <= {"200", "503"}
        assert "503" in said
        wait_until(lambda: "host gpu:1 is gone (silent" in server.notes)
        refused = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=True).stdout
        assert refused.strip() == "503"
        _run("ip", "link", "set", link, "up")
        wait_until(lambda: "gateway 1 on host gpu:1 is up again" in server.notes, BACK_S)
        wait_until(lambda: is_ready(there), BACK_S)
        assert status_of(there) == 200


CLIENT = """
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(urllib.request.Request(sys.argv[1], sys.argv[2].encode()), timeout=50) as answer:
        print(answer.status)
except urllib.error.HTTPError as error:
    print(error.code)
"""
