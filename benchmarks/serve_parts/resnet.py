"""ResNet-18 on this machine: ours, a bare call of onnxruntime, and other servers in environments of their own.

Every server runs the same file on one thread of onnxruntime in one worker, and gets the same input in the form that it
reads fastest over HTTP. Environments are made once in ``--environments`` and kept. One that cannot be made, or whose
server does not start, is left out with the reason.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, encode_request
from serve_parts.overhead import free_port, wait_for
from serve_parts.thin_client import Figures, closed_loop, one_by_one, post

PEERS = Path(__file__).parent / "peers"
SHAPE = (1, 3, 224, 224)
CONCURRENCY = 8
INSTALL_S = 600.0
START_S = 120.0


@dataclass(frozen=True)
class Peer:
    """A server: what to install, its script, and the request for it."""

    name: str
    requires: tuple[str, ...]
    script: str
    request: Callable[[np.ndarray], bytes]


def v2_binary(array: np.ndarray, model: str = "resnet18", name: str = "input") -> bytes:
    """The Open Inference Protocol with a raw tensor."""
    message = encode_request(InferRequest((Tensor(name, "FP32", array),), binary_default=True))
    return post(f"/v2/models/{model}/infer", message.body(), {HEADER_LENGTH: str(message.header_length)})


def v2_base64(array: np.ndarray) -> bytes:
    """The protocol's JSON with one string."""
    text = base64.b64encode(array.tobytes()).decode()
    one = {"name": "input", "shape": [1], "datatype": "BYTES", "data": [text]}
    return post("/v2/models/resnet18/infer", json.dumps({"inputs": [one]}).encode(), JSON)


def json_base64(array: np.ndarray) -> bytes:
    """JSON of LitServe's kind."""
    return post("/predict", json.dumps({"data": base64.b64encode(array.tobytes()).decode()}).encode(), JSON)


JSON = {"Content-Type": "application/json"}
RUNTIME = "onnxruntime"
ALL = (
    Peer("LitServe", ("litserve", RUNTIME), "litserve_server.py", json_base64),
    Peer("MLServer", ("mlserver", RUNTIME), "mlserver_server.py", v2_base64),
    Peer("Triton (pytriton)", ("nvidia-pytriton", RUNTIME), "triton_server.py", v2_binary),
    Peer("Ray Serve", ("ray[serve]", RUNTIME), "ray_server.py", lambda array: post("/", array.tobytes())),
)


def measure(folder: Path, environments: Path, names: list[str], seconds: float) -> list[dict[str, object]]:
    """A row for each server, ours first."""
    model = folder / "resnet18.onnx"
    penstock("zoo", "resnet18", "-o", model, "--force")
    array = np.random.default_rng(0).standard_normal(SHAPE).astype(np.float32)
    rows = [_bare(model, array, seconds), _ours(folder, model, array, seconds)]
    for peer in ALL:
        if names and not any(name.lower() in peer.name.lower() for name in names):
            continue
        try:
            rows.append(_peer(peer, model, environments, array, seconds))
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            rows.append({"server": peer.name, "left out": str(error)[-300:]})
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    return rows


def penstock(*arguments: object) -> None:
    """Run a verb."""
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def _row(name: str, alone: Figures, together: Figures) -> dict[str, object]:
    return {
        "server": name,
        "p50 ms": alone.p50_us / 1e3,
        "p99 ms": alone.p99_us / 1e3,
        f"req/s at {CONCURRENCY}": together.rps,
        f"p99 ms at {CONCURRENCY}": together.p99_us / 1e3,
        "failed": alone.failed + together.failed,
    }


def _bare(model: Path, array: np.ndarray, seconds: float) -> dict[str, object]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options)
    inputs = {session.get_inputs()[0].name: array}
    times = []
    end_s = time.perf_counter() + seconds
    while (begin_s := time.perf_counter()) < end_s or not times:
        session.run(None, inputs)
        times.append(time.perf_counter() - begin_s)
    us = np.array(times[1:] or times) * 1e6
    figures = Figures(len(times) / sum(times), float(np.median(us)), float(np.quantile(us, 0.99)), 0)
    return _row("onnxruntime, a bare call", figures, figures)


def _ours(folder: Path, model: Path, array: np.ndarray, seconds: float) -> dict[str, object]:
    penstock("profile", model, "--device-class", "cpu", "-o", folder / "profile", "--max-batch", 1, "--force")
    (folder / "scenario.yaml").write_text(
        "version: 1\ncluster:\n  bandwidth_gbps: 10\n  device_classes:\n    cpu: {count: 1}\n"
        "models:\n  - {name: resnet18, profile: profile, slo_ms: 10000}\nplanner: {max_stages: 1}\n"
    )
    penstock("plan", folder / "scenario.yaml", "-o", folder / "plan.json", "--force")
    with LocalServer(folder / "plan.json", ready_s=600.0) as server:
        port = urlsplit(server.url).port or 0
        name = _input_name(server.url)
        return _both("Penstock", port, v2_binary(array, name=name), seconds)


def _input_name(url: str) -> str:
    from urllib.request import urlopen

    with urlopen(f"{url}/v2/models/resnet18", timeout=10) as answer:
        return str(json.loads(answer.read())["inputs"][0]["name"])


def _both(name: str, port: int, request: bytes, seconds: float) -> dict[str, object]:
    one_by_one(port, request, min(seconds, 1.0))  # warm-up
    return _row(name, one_by_one(port, request, seconds), closed_loop(port, request, CONCURRENCY, seconds))


def _peer(
    peer: Peer, model: Path, environments: Path, array: np.ndarray, seconds: float
) -> dict[str, object]:
    python = _environment(peer, environments)
    port = free_port()
    log = environments / f"{peer.script}.log"
    with _started([str(python), str(PEERS / peer.script), str(model), str(port)], log) as process:
        try:
            wait_for(port, process, START_S)
            request = peer.request(array)
            _until_answered(port, request, process)
        except RuntimeError as error:
            last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it wrote nothing"]
            raise RuntimeError(f"{error}: {last[0][-200:]} ({log})") from None
        return _both(peer.name, port, request, seconds)


def _environment(peer: Peer, environments: Path) -> Path:
    """The Python of the peer's own environment, which is made if it is not there."""
    folder = environments / peer.script.removesuffix("_server.py")
    python = folder / "bin" / "python"
    if (folder / "installed").exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    uv = shutil.which("uv")
    make = [uv, "venv", "--quiet", "-p", sys.executable] if uv else [sys.executable, "-m", "venv"]
    install = (
        [uv, "pip", "install", "--quiet", "-p", str(python)]
        if uv
        else [str(python), "-m", "pip", "install", "-q"]
    )
    for command in ([*make, str(folder)], [*install, *peer.requires]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot be installed: {done.stderr.strip()[-200:]}")
    (folder / "installed").touch()
    return python


@contextmanager
def _started(command: list[str], log_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A server in a session of its own, all of which ends at the end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env=environment, cwd=log_path.parent
        )
        try:
            yield process
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it ended by itself
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_answered(port: int, request: bytes, process: subprocess.Popen[bytes]) -> None:
    """Until the model is loaded: some servers listen before."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            if not one_by_one(port, request, 0.0).failed:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError("the server does not answer")
