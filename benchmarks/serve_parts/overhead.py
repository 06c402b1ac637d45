"""What the server adds: a model that takes a microsecond, against a bare echo of the same HTTP server."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
from serve_cases import bytes_profile, write_plan

from penstock.serve.load.openloop import Concurrency, run_load
from penstock.serve.local_server import LocalServer
from penstock.serve.protocol.infer import HEADER_LENGTH, InferRequest, Tensor, encode_request
from serve_parts.thin_client import Figures, closed_loop, one_by_one, post

ECHO = Path(__file__).parents[1] / "http_servers_parts" / "echo.py"
SIZES = {"1 KB": 1_000, "602 KB": 602_112}
CONCURRENCY = 8
LIMITS_MS = {"1 KB": 0.6, "602 KB": 1.0}
"""What the server may add to the median at concurrency 1."""
LEAST_RPS = {("1 KB", "http"): 3_000, ("602 KB", "http"): 1_000, ("602 KB", "grpc"): 700}


def measure(seconds: float, rounds: int) -> list[dict[str, object]]:
    """A row for each size; each figure is the best of ``rounds``, which take turns with the echo's."""
    return [_size(label, size, seconds, rounds) for label, size in SIZES.items()]


def _size(label: str, size: int, seconds: float, rounds: int) -> dict[str, object]:
    request = idle_request(size)
    with tempfile.TemporaryDirectory() as folder, echo() as (echo_port, _):
        plan = write_plan(
            Path(folder), bytes_profile("idle", (size, 40), latency_us=1), (0, 1), batch=1, slo_us=10_000_000
        )
        grpc = f"127.0.0.1:{free_port()}"
        with LocalServer(plan, ["--executor", "emulated", "--grpc", grpc], ready_s=600.0) as server:
            port = urlsplit(server.url).port or 0
            turns: dict[str, list[Figures]] = {"echo": [], "served": [], "served at 8": []}
            for _ in range(rounds):
                turns["echo"].append(one_by_one(echo_port, request, seconds))
                turns["served"].append(one_by_one(port, request, seconds))
                turns["served at 8"].append(closed_loop(port, request, CONCURRENCY, seconds))
            grpc_rps = max(_grpc_rps(f"grpc://{grpc}", seconds) for _ in range(rounds))
    echo_us = min(turn.p50_us for turn in turns["echo"])
    served_us = min(turn.p50_us for turn in turns["served"])
    return {
        "body": label,
        "echo p50 ms": echo_us / 1e3,
        "served p50 ms": served_us / 1e3,
        "added ms": (served_us - echo_us) / 1e3,
        "may add ms": LIMITS_MS[label],
        "served p99 ms": min(turn.p99_us for turn in turns["served"]) / 1e3,
        f"http req/s at {CONCURRENCY}": max(turn.rps for turn in turns["served at 8"]),
        "least http": LEAST_RPS[label, "http"],
        f"grpc req/s at {CONCURRENCY}": grpc_rps,
        "least grpc": LEAST_RPS.get((label, "grpc"), 0),
        "failed": sum(turn.failed for own in turns.values() for turn in own),
    }


def idle_request(size: int) -> bytes:
    """A whole request of one sample of ``size`` bytes for the model ``idle``."""
    tensor = Tensor("input", "UINT8", np.zeros((1, size), np.uint8))
    message = encode_request(InferRequest((tensor,), binary_default=True))
    return post("/v2/models/idle/infer", message.body(), {HEADER_LENGTH: str(message.header_length)})


def _grpc_rps(url: str, seconds: float) -> float:
    load = Concurrency(CONCURRENCY, round(seconds * 1e6), (1.0,))
    result = asyncio.run(run_load(url, ["idle"], load, slo_us=10_000_000, rng=np.random.default_rng(0)))
    return result.statuses.get(200, 0) / (int(result.record.requests.finish_us.max(initial=1)) / 1e6)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


@contextmanager
def echo() -> Iterator[tuple[int, int]]:
    """A bare echo by the gateway's own HTTP server: its port, and the number of its process."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(ECHO), "penstock", str(port)])
    try:
        wait_for(port, process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(10)


def wait_for(port: int, process: subprocess.Popen[bytes], limit_s: float = 60.0) -> None:
    """Until somebody listens at ``port``; :class:`RuntimeError` if ``process`` ends before, or nobody comes."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended with status {process.returncode} before it listened")
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"nobody listens at port {port} after {limit_s:g} s")
