"""ResNet-18 on this machine: ours, a bare call of onnxruntime, and other servers in environments of their own.

Every server runs the same file on one thread of onnxruntime in one worker, and gets the same input in the form that it
reads fastest over HTTP. All of them are up at the same time, and take turns in short rounds: whatever else runs on the
machine then disturbs all alike. Environments are made once in ``--environments`` and kept. A server whose environment
cannot be made, or that does not start, is left out with the reason.
"""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np
import onnxruntime

from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, encode_request
from serve_parts.overhead import free_port
from serve_parts.peer_servers import cpu_s, environment, started, version_of
from serve_parts.thin_client import Figures, closed_loop, one_by_one, post

SHAPE = (1, 3, 224, 224)
CONCURRENCY = 8
BARE, OURS = "onnxruntime, a bare call", "Penstock"


@dataclass(frozen=True)
class Peer:
    """A server: what to install, its package, its script, and the request for it."""

    name: str
    requires: str
    package: str
    script: str
    request: Callable[[np.ndarray, str], bytes]


def v2_binary(array: np.ndarray, name: str) -> bytes:
    """The Open Inference Protocol with a raw tensor."""
    message = encode_request(InferRequest((Tensor(name, "FP32", array),), binary_default=True))
    return post("/v2/models/resnet18/infer", message.body(), {HEADER_LENGTH: str(message.header_length)})


def v2_base64(array: np.ndarray, name: str) -> bytes:
    """The protocol's JSON with one string."""
    text = base64.b64encode(array.tobytes()).decode()
    one = {"name": name, "shape": [1], "datatype": "BYTES", "data": [text]}
    return post("/v2/models/resnet18/infer", json.dumps({"inputs": [one]}).encode(), JSON)


def json_base64(array: np.ndarray, name: str) -> bytes:
    """JSON of LitServe's kind."""
    return post("/predict", json.dumps({"data": base64.b64encode(array.tobytes()).decode()}).encode(), JSON)


def raw(array: np.ndarray, name: str) -> bytes:
    """The bytes of the tensor."""
    return post("/", array.tobytes())


JSON = {"Content-Type": "application/json"}
PEERS = (
    Peer("Triton", "nvidia-pytriton", "nvidia-pytriton", "triton_server.py", v2_binary),
    Peer("MLServer", "mlserver", "mlserver", "mlserver_server.py", v2_base64),
    Peer("LitServe", "litserve", "litserve", "litserve_server.py", json_base64),
    Peer("Ray Serve", "ray[serve]", "ray", "ray_server.py", raw),
)


class Round(NamedTuple):
    """The figures of one request at a time, of several, and what one cost all processes of the server."""

    alone: Figures
    together: Figures
    cpu_ms: float


Turn = Callable[[float], Round]
"""A round of so many seconds, twice."""


def measure(
    folder: Path, environments: Path, names: list[str], seconds: float, rounds: int
) -> list[dict[str, object]]:
    """A row for each server, ours first: medians of ``rounds``."""
    model = folder / "resnet18.onnx"
    penstock("zoo", "resnet18", "-o", model, "--force")
    array = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    rows: list[dict[str, object]] = []
    with ExitStack() as at_end:
        session = opened(model)
        name = session.get_inputs()[0].name
        turns: dict[str, Turn] = {BARE: lambda seconds: _bare(session, {name: array}, seconds)}
        url, process = at_end.enter_context(served(folder, model))
        turns[OURS] = _turn(urlsplit(url).port or 0, v2_binary(array, name), process)
        for peer in PEERS:
            if names and not any(one.lower() in peer.name.lower() for one in names):
                continue
            try:
                python = environment(peer.package, (peer.requires, "onnxruntime"), environments)
                port, request = free_port(), peer.request(array, name)
                log = environments / f"{peer.package}.log"
                arguments = (model, port)
                process = at_end.enter_context(started(python, peer.script, arguments, port, log, request))
                # The wheel of Triton has a version of its own.
                version = f"({peer.package} {version_of(python, peer.package)})"
                turns[f"{peer.name} {version}"] = _turn(port, request, process)
            except (RuntimeError, OSError, subprocess.SubprocessError) as error:
                rows.append({"server": peer.name, "left out": str(error)[-300:]})
        for turn in turns.values():
            turn(min(seconds, 1.0))  # warm-up
        taken: dict[str, list[Round]] = {server: [] for server in turns}
        for number in range(rounds):
            for server, turn in turns.items():
                taken[server].append(turn(seconds))
            print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return [_row(server, own, taken[OURS]) for server, own in taken.items()] + rows


def opened(model: Path) -> onnxruntime.InferenceSession:
    """A session with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options)


def penstock(*arguments: object) -> None:
    """Run a verb."""
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _row(server: str, own: list[Round], ours: list[Round]) -> dict[str, object]:
    """Medians over the rounds; those of ratios to ours are of the ratios within each round."""
    alone, together, cpu_ms = zip(*own, strict=True)
    rates = [a.together.rps / max(b.together.rps, 1e-9) for a, b in zip(own, ours, strict=True)]
    costs = [a.cpu_ms / b.cpu_ms for a, b in zip(own, ours, strict=True)]
    return {
        "server": server,
        "p50 ms": float(np.median([one.p50_us for one in alone])) / 1e3,
        "p99 ms": float(np.median([one.p99_us for one in alone])) / 1e3,
        f"req/s at {CONCURRENCY}": float(np.median([one.rps for one in together])),
        "over ours": float(np.median(rates)),
        f"p99 ms at {CONCURRENCY}": float(np.median([one.p99_us for one in together])) / 1e3,
        "CPU ms a request": float(np.median(cpu_ms)),
        "CPU over ours": float(np.median(costs)),
        "failed": sum(one.failed for one in (*alone, *together)),
    }


def _bare(session: onnxruntime.InferenceSession, inputs: dict[str, np.ndarray], seconds: float) -> Round:
    times = []
    begin_cpu_s = time.thread_time()
    end_s = time.perf_counter() + seconds
    while (begin_s := time.perf_counter()) < end_s or not times:
        session.run(None, inputs)
        times.append(time.perf_counter() - begin_s)
    us = np.array(times) * 1e6
    figures = Figures(
        len(times) / sum(times), float(np.median(us)), float(np.quantile(us, 0.99)), 0, len(times)
    )
    return Round(figures, figures, 1e3 * (time.thread_time() - begin_cpu_s) / len(times))


def _turn(port: int, request: bytes, process: int) -> Turn:
    def turn(seconds: float) -> Round:
        begin_s = cpu_s(process)
        alone = one_by_one(port, request, seconds)
        together = closed_loop(port, request, CONCURRENCY, seconds)
        done = alone.done + together.done
        return Round(alone, together, 1e3 * (cpu_s(process) - begin_s) / max(done, 1))

    return turn


@contextmanager
def served(folder: Path, model: Path, arguments: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """The URL of Penstock with one worker for ``model``, and its first process."""
    penstock(
        "profile",
        model,
        *("--device-class", "cpu", "-o", folder / "profile", "--max-batch", 1, "--seconds", 20, "--force"),
    )
    # The SLO is far above any time that a busy machine takes: a request that is dropped would be no rate.
    (folder / "scenario.yaml").write_text(
        "version: 1\ncluster:\n  bandwidth_gbps: 10\n  device_classes:\n    cpu: {count: 1}\n"
        f"models:\n  - {{name: {model.stem}, profile: profile, slo_ms: 60000}}\nplanner: {{max_stages: 1}}\n"
    )
    penstock("plan", folder / "scenario.yaml", "-o", folder / "plan.json", "--force")
    with LocalServer(folder / "plan.json", arguments, ready_s=600.0) as server:
        yield server.url, server.pid
