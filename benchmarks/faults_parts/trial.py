"""One server under load: what it answers, when, and what it leaves behind."""

from __future__ import annotations

import json
import os
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from serve_cases import WIDTH, skip_profile, write_plan, write_skip_model

from penstock.errors import PenstockError
from penstock.plan.documents.store import load_plan
from penstock.serve.local_server import LocalServer
from penstock.serve.switching import run_at

STAGE_US = 40_000
SLO_US = 1_000_000
WORKERS = 4
"""A stage; two stages of padded workers: real results, at the speed of a slower device."""
ROLES = ("dispatcher", "gateway", "worker")
BACK_S = 3.0
GOOD = 0.99
SETTLE_S = 1.0
"""Before the fault; the fault strikes after a third of the rest."""


@dataclass
class Answer:
    """Of one request; ``status`` is -1 if the connection was lost. ``error``: what came in place of a result."""

    sent_s: float
    took_s: float
    status: int
    is_right: bool
    error: str = ""


@dataclass
class Trial:
    """One fault, once. ``problems``: why it could not strike."""

    answers: list[Answer]
    fault_s: float
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        return sum(answer.status == -1 for answer in self.answers)

    @property
    def wrong(self) -> int:
        return sum(answer.status == 200 and not answer.is_right for answer in self.answers)

    @property
    def errors(self) -> Counter[int]:
        return Counter(a.status for a in self.answers if a.status not in (200, -1))

    def attainment(self, start_s: float, stop_s: float) -> float:
        """Of the requests sent in a span, the share answered right within the SLO."""
        span = [a for a in self.answers if start_s <= a.sent_s < stop_s]
        met = sum(a.status == 200 and a.is_right and a.took_s * 1e6 <= SLO_US for a in span)
        return met / len(span) if span else 1.0

    @property
    def back_s(self) -> float:
        """When after the fault the attainment of every later half second is good; inf if it never is."""
        end_s = max(a.sent_s for a in self.answers)
        back = 0.0
        for start_s in np.arange(self.fault_s, end_s - 0.5, 0.5):
            if self.attainment(start_s, start_s + 0.5) < GOOD:
                back = start_s + 0.5 - self.fault_s
        return back


class Server:
    """A running server and its processes by role. ``problems``: why a fault could not strike."""

    def __init__(self, server: LocalServer, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.problems: list[str] = []
        self._busy: list[threading.Thread] = []

    def beside(self, work: Callable[[], None]) -> None:
        """Do ``work`` beside the load; an error of it is a problem."""

        def go() -> None:
            try:
                work()
            except (PenstockError, OSError) as error:
                self.problems.append(str(error))

        self._busy.append(threading.Thread(target=go))
        self._busy[-1].start()

    def wait(self) -> None:
        """Until nothing is done beside the load."""
        for thread in self._busy:
            thread.join()

    def processes(self, role: str) -> list[int]:
        """Process ids of living children, in order of their start."""
        children = Path(f"/proc/{self.server.pid}/task/{self.server.pid}/children").read_text().split()
        found = []
        for child in map(int, children):
            words = Path(f"/proc/{child}/cmdline").read_text().split("\0")
            if role in words:
                found.append(child)
        return found

    def first_stage(self) -> list[int]:
        """The workers of the first stage, which come first in the plan."""
        return self.processes("worker")[:WORKERS]


@dataclass(frozen=True)
class Load:
    """Requests per second, and what one of them asks and should be answered. ``url``: of the server."""

    url: str
    planned_rps: float
    body: bytes
    wanted: np.ndarray

    def send(self, rate: float, seconds: float) -> list[Answer]:
        """At fixed times, whatever happens to earlier ones; returns when the last one is answered."""
        start_s = time.monotonic()
        made = []
        with ThreadPoolExecutor(512) as pool:
            for number in range(int(rate * seconds)):
                time.sleep(max(0.0, start_s + number / rate - time.monotonic()))
                made.append(pool.submit(asked, self.url, self.body, self.wanted, start_s))
            return [one.result() for one in made]


@contextmanager
def serving(*options: str, left: list[str]) -> Iterator[tuple[Server, Load]]:
    """A server of two gateways that has answered before. ``left`` gets what it leaves behind."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = write_skip_model(folder / "skip.onnx")
        plan = write_plan(
            folder, skip_profile(path, STAGE_US // 2), (0, 2, 4), workers=WORKERS, batch=1, slo_us=SLO_US
        )
        x, wanted = example(path)
        values = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": x.tolist()}
        body = json.dumps({"inputs": [values]}).encode()
        temporary = folder / "tmp"
        temporary.mkdir()
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        try:
            fixed = ("--executor", "padded", "--gateways", "2", "--overhead-us", "60000")
            with LocalServer(plan, [*fixed, *options]) as server:
                it = Server(server, folder)
                run = run_at(server.url)
                for _ in range(20):
                    asked(server.url, body, wanted, 0.0)
                yield it, Load(server.url, load_plan(plan).plan.models[0].rate_rps, body, wanted)
                processes = [pid for role in ROLES for pid in it.processes(role)]
            left += [f"process {pid}" for pid in processes if Path(f"/proc/{pid}").exists()]
            left += left_behind(temporary, run)
        finally:
            os.environ.pop("TMPDIR")
            tempfile.tempdir = None


def asked(url: str, body: bytes, wanted: np.ndarray, start_s: float) -> Answer:
    """One request on a connection of its own."""
    sent_s = time.monotonic()
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("POST", "/v2/models/skip/infer", body)
        response = connection.getresponse()
        status, text = response.status, response.read()
    except (OSError, HTTPException) as error:
        status, text = -1, repr(error).encode()
    finally:
        connection.close()
    is_right = status == 200 and np.allclose(json.loads(text)["outputs"][0]["data"], wanted, atol=1e-4)
    said = "" if status == 200 else text.decode(errors="replace").strip()
    return Answer(sent_s - start_s, time.monotonic() - sent_s, status, bool(is_right), said)


def left_behind(folder: Path, run: Path) -> list[str]:
    """What is left in the temporary folder of the server, and its segments of shared memory."""
    files = [*folder.glob("penstock-*"), *Path("/dev/shm").glob(f"*{run.name}*")]
    return [str(path) for path in files]


def example(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """An input, and the first output that the model gives for it."""
    import onnxruntime

    x = np.linspace(-1, 1, WIDTH).astype(np.float32)
    return x, onnxruntime.InferenceSession(path).run(["sum"], {"x": x[None]})[0][0]
