"""A plan on two hosts of a rehearsal: answers as onnxruntime's, and service after a host was lost in every way."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("zmq")

from serve_cases import bytes_profile, write_plan
from test_serve_live import ask, infer, is_alive, wait_until

from penstock.errors import BadInputError
from penstock.graph.cuts import boundary_bytes
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.table import Block
from penstock.serve.hosts.host_line import SILENCE_US
from penstock.serve.hosts.rehearsal import Network, NoRightsError, _run
from penstock.serve.local_server import LocalServer

pytestmark = [pytest.mark.hosts, pytest.mark.slow]

OPTIONS = ["--rehearse-hosts", "--overhead-us", "300000", "--drain-seconds", "3"]
SIDE = 64
PERIOD_S = 0.2
BACK_S = 180.0


@pytest.fixture(scope="session")
def rights():
    try:
        network = Network()
        network.add(1.0)
        network.close()
    except NoRightsError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory):
    """A real architecture, small in its image."""
    path = tmp_path_factory.mktemp("zoo") / "squeezenet.onnx"
    verb = ["zoo", "squeezenet1_1", "--image-size", str(SIDE), "-o", str(path)]
    subprocess.run(
        [sys.executable, "-c", "from penstock.cli.main import main; main()", *verb], check=True, timeout=120
    )
    return path


def two_stages(folder, squeezenet, workers):
    """The plan of a stage for each half of the model, ``workers`` each, every worker on a host of its own."""
    model = read_onnx(squeezenet)
    names = [operator.name for operator in model.graph.operators]
    sizes = [int(size) for size in boundary_bytes(model.graph)]
    half = len(names) // 2
    profile = replace(
        bytes_profile("squeezenet", (sizes[0], sizes[half], sizes[-1]), 30_000),
        blocks=(Block("first", tuple(names[:half]), 0, 0), Block("second", tuple(names[half:]), 0, 0)),
        model_file=str(squeezenet),
        model_sha256=model.sha256,
    )
    return write_plan(folder, profile, (0, 1, 2), workers=workers, batch=1, slo_us=8_000_000)


@pytest.fixture(scope="module")
def plan(tmp_path_factory, squeezenet):
    """Four hosts of one device."""
    return two_stages(tmp_path_factory.mktemp("plan"), squeezenet, workers=2)


@pytest.fixture(scope="module")
def reference(squeezenet):
    session = onnxruntime.InferenceSession(squeezenet, providers=["CPUExecutionProvider"])
    (name,) = (one.name for one in session.get_inputs())
    (output,) = (one.name for one in session.get_outputs())
    image = np.random.default_rng(3).normal(size=(1, 3, SIDE, SIDE)).astype(np.float32)
    return name, output, image, session.run([output], {name: image})[0]


def spaces(server):
    """(namespace, address) of every host."""
    return dict(re.findall(r"host (gpu:\d+) is network namespace (penstock-\d+-\d+)", server.notes))


def pids_in(space):
    return [int(line) for line in _run("ip", "netns", "pids", space).split()]


def agent_in(space):
    """The agent is the oldest process of its namespace."""
    return min(pids_in(space), key=started)


def started(pid):
    """Field 22 of proc(5): when the process started."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


class Clients:
    """One request each period, each with its answer, once."""

    def __init__(self, server, reference):
        self.server = server
        self.name, self.output, self.image, self.wanted = reference
        self.answers = []
        self.sent = 0
        self._stop = threading.Event()
        self._threads = []
        self._pacer = threading.Thread(target=self._pace)

    def __enter__(self):
        self._pacer.start()
        return self

    def __exit__(self, *error):
        self._stop.set()
        self._pacer.join()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _pace(self):
        while not self._stop.wait(PERIOD_S):
            self.sent += 1
            thread = threading.Thread(target=self._ask, args=(time.monotonic(),))
            self._threads.append(thread)
            thread.start()

    def _ask(self, sent_s):
        try:
            result = infer(self.server, "squeezenet", self.name, self.image)
            is_right = np.allclose(result.as_numpy(self.output), self.wanted, rtol=1e-3, atol=1e-4)
            self.answers.append((sent_s, "right" if is_right else "wrong"))
        except Exception as error:
            self.answers.append((sent_s, f"error: {error}"))

    def all_right_since(self, since_s, count=5):
        """Whether the last ``count`` answers of requests that were sent after ``since_s`` are right."""
        later = [what for sent_s, what in sorted(self.answers) if sent_s > since_s]
        return len(later) >= count and set(later[-count:]) == {"right"}


@pytest.fixture
def served(rights, plan, reference, tmp_path):
    with LocalServer(plan, OPTIONS, ready_s=240) as server:
        yield server
        left = [pid for space in spaces(server).values() for pid in pids_in(space)]
    wait_until(lambda: not any(is_alive(pid) for pid in left))
    for space in spaces(server).values():
        assert space not in _run("ip", "netns", "list")


def test_outputs_are_those_of_one_machine_and_every_loss_is_survived(served, reference):
    """One server for all faults, one after the other, under requests all the time."""
    server = served
    found = spaces(server)
    assert len(found) == 4
    name, output, image, wanted = reference
    answer = infer(server, "squeezenet", name, image).as_numpy(output)
    np.testing.assert_allclose(answer, wanted, rtol=1e-3, atol=1e-4)
    with Clients(server, reference) as clients:
        first, *_, last = found.values()

        def after(lose, what, host):
            before = len(re.findall(rf"host {host} is back", server.notes))
            lose()
            wait_until(lambda: re.search(what, server.notes), 20)
            lost_s = time.monotonic()
            wait_until(lambda: clients.all_right_since(lost_s), 30)  # the other worker of the stage serves
            wait_until(lambda: len(re.findall(rf"host {host} is back", server.notes)) > before, BACK_S)
            ups = server.notes.count("is up again")
            wait_until(lambda: server.notes.count("is up again") > ups or ups, BACK_S)

        after(
            lambda: os.kill(agent_in(first), signal.SIGKILL),
            r"host gpu:0 is gone \(its agent ended\)",
            "gpu:0",
        )
        after(
            lambda: [os.kill(pid, signal.SIGKILL) for pid in pids_in(last)],
            r"host gpu:3 is gone \(its agent ended\)",
            "gpu:3",
        )
        outer = f"ps{server.pid}-0"
        wait_until(lambda: len(pids_in(first)) > 1, BACK_S)
        gone = server.notes.count("is gone")
        os.kill(server.pid, signal.SIGSTOP)  # a head without a core is not a cut link: its hosts wait for it
        time.sleep(SILENCE_US / 1e6 + 2)
        os.kill(server.pid, signal.SIGCONT)
        back_s = time.monotonic()
        wait_until(lambda: clients.all_right_since(back_s), 30)
        assert server.notes.count("is gone") == gone

        def cut_for_5_s():
            _run("ip", "link", "set", outer, "down")
            threading.Timer(5.0, _run, ("ip", "link", "set", outer, "up")).start()

        after(cut_for_5_s, r"host gpu:0 is gone \(silent", "gpu:0")
        wait_until(lambda: len(pids_in(first)) > 1, BACK_S)
        cut_s = time.monotonic()
        silent = len(re.findall(r"is gone \(silent", server.notes))
        _run("ip", "link", "set", outer, "down")
        wait_until(lambda: len(re.findall(r"is gone \(silent", server.notes)) > silent, 20)
        wait_until(lambda: clients.all_right_since(max(cut_s, time.monotonic() - 1)), 30)
    assert len(clients.answers) == clients.sent
    wrong = [what for _, what in clients.answers if what != "right"]
    assert "wrong" not in wrong
    assert not wrong
    assert "penstock replan" in server.notes


def test_a_plan_without_the_lost_host_is_served_until_it_is_back(rights, tmp_path):
    plan = write_plan(
        tmp_path,
        bytes_profile("sizes", (24, 16, 10), 20_000),
        (0, 1, 2),
        workers=2,
        batch=1,
        slo_us=8_000_000,
    )
    body = json.dumps(
        {"inputs": [{"name": "input", "shape": [1, 24], "datatype": "UINT8", "data": [0] * 24}]}
    ).encode()
    with LocalServer(
        plan, [*OPTIONS, "--executor", "emulated", "--replan-after", "0.5"], ready_s=240
    ) as server:
        outer = f"ps{server.pid}-1"
        for link, said, times in (
            ("down", "planning without gpu:host1", 1),
            ("up", "all that was lost is back", 2),
        ):
            _run("ip", "link", "set", outer, link)
            wait_until(lambda said=said: said in server.notes, BACK_S)
            wait_until(lambda n=times: server.notes.count("the plan fits what is there") == n, BACK_S)
            assert ask(f"{server.url}/v2/models/sizes/infer", body)[0] == 200
    assert "the plan stays as it is" not in server.notes


def test_what_a_killed_rehearsal_left_is_removed_by_the_next(rights):
    ended = subprocess.Popen(["true"])
    ended.wait()
    left = f"penstock-{ended.pid}-0"
    _run("ip", "netns", "add", left)
    _run("ip", "link", "add", f"psb{ended.pid}", "type", "bridge")
    network = Network()
    try:
        assert left not in _run("ip", "netns", "list")
        assert f"psb{ended.pid}" not in _run("ip", "link", "show", "type", "bridge")
    finally:
        network.close()


def test_a_delay_that_the_kernel_cannot_make_is_bad_input(rights, monkeypatch):
    from penstock.serve.hosts import rehearsal

    real = rehearsal._run

    def without_netem(*command):
        if "netem" in command:
            raise NoRightsError("qdisc kind is unknown.")
        return real(*command)

    monkeypatch.setattr(rehearsal, "_run", without_netem)
    network = Network(delay_us=1_000)
    try:
        with pytest.raises(BadInputError, match="--rehearse-delay-us: this kernel cannot delay"):
            network.add(1.0)
    finally:
        network.close()
