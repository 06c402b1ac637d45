"""Clients of other projects against this server: perf_analyzer in every mode, and every call of the kserve client.

    python benchmarks/other_clients.py

ResNet-18 on one worker. Each client gets an environment of its own, which is made once. perf_analyzer comes from the
last wheel of tritonclient that has it; it needs libb64 (Debian: ``apt install libb64-0d``). Ends with 1 if a call
fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))

from serve_parts.overhead import free_port
from serve_parts.peer_servers import SCRIPTS, environment, version_of
from serve_parts.resnet import penstock, served

WITH_PERF_ANALYZER = "tritonclient==2.46.0"
CUDA_LIBRARY = "nvidia-cuda-runtime-cu12==12.9.79"
"""perf_analyzer is linked with it, also where there is no GPU."""
SHARED = ("--shared-memory", "system", "--output-shared-memory-size", "8192")
MODES = (
    ("HTTP", ()),
    ("HTTP, asynchronous, 4 at once", ("--async", "--concurrency-range", "4")),
    ("HTTP, Poisson arrivals", ("--request-rate-range", "10", "--request-distribution", "poisson")),
    ("HTTP, batch of 2", ("-b", "2")),
    ("HTTP, tensors in JSON", ("--input-tensor-format", "json", "--output-tensor-format", "json")),
    ("HTTP, system shared memory", SHARED),
    ("gRPC", ()),
    ("gRPC, asynchronous, 4 at once", ("--async", "--concurrency-range", "4")),
    ("gRPC, streaming", ("--streaming", "--async", "--concurrency-range", "2")),
    ("gRPC, gzip", ("--grpc-compression-algorithm", "gzip")),
    ("gRPC, system shared memory", SHARED),
)
RATE = re.compile(r"throughput: ([0-9.]+) infer/sec, latency (\d+) usec")


class Outcome(NamedTuple):
    """What a call of a client said: ``error`` is empty if it worked."""

    client: str
    call: str
    error: str
    seen: str = ""


def perf_analyzer(environments: Path, http: str, grpc: str, window_ms: int) -> Iterator[Outcome]:
    """Every mode, for three windows of ``window_ms`` or until the figures are steady."""
    python = environment("perf-analyzer", (WITH_PERF_ANALYZER, CUDA_LIBRARY), environments)
    program = python.parent / "perf_analyzer"
    site = next((python.parents[1] / "lib").glob("python*/site-packages"))
    own = {**os.environ, "LD_LIBRARY_PATH": str(site / "nvidia" / "cuda_runtime" / "lib")}
    client = f"perf_analyzer ({WITH_PERF_ANALYZER})"
    # A wheel's data files are not marked as programs by every installer.
    program.chmod(0o755)
    for name, options in MODES:
        where = ("-u", grpc, "-i", "grpc") if name.startswith("gRPC") else ("-u", http)
        # Its random numbers have NaN among them, which JSON does not have.
        data = ("--input-data", "zero") if "JSON" in name else ()
        # Others on the machine are no fault of the server: any figures count, steady or not.
        command = [program, "-m", "resnet18", *where, "-p", str(window_ms), "--max-trials", "3", "-s", "999"]
        done = subprocess.run(
            [*map(str, command), *data, *options],
            env=own,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        found = RATE.search(done.stdout)
        if done.returncode or found is None:
            said = (done.stderr + done.stdout).strip().splitlines()[-3:]
            yield Outcome(client, name, f"ended with {done.returncode}: {' '.join(said)[-200:]}")
        else:
            seen = f"{float(found[1]):.1f} requests/s, {int(found[2]) / 1e3:.1f} ms"
            yield Outcome(client, name, "", seen)


def kserve(environments: Path, url: str, grpc: str) -> Iterator[Outcome]:
    """Every call of the kserve client."""
    python = environment("kserve", ("kserve",), environments)
    command = [python, SCRIPTS / "kserve_calls.py", url, grpc, "resnet18"]
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=300, check=False)
    client = f"kserve {version_of(python, 'kserve')}"
    for line in done.stdout.splitlines():
        if line.startswith('{"call"'):
            one = json.loads(line)
            yield Outcome(
                client, one["call"], one["error"], "the same numbers" if "infer" in one["call"] else ""
            )
    if done.returncode:
        yield Outcome(client, "all", done.stderr.strip()[-200:])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "penstock-peers")
    parser.add_argument("--window", type=int, default=1500, metavar="MS", help="perf_analyzer's window")
    asked = parser.parse_args()
    asked.environments.mkdir(parents=True, exist_ok=True)
    outcomes = []
    with ExitStack() as at_end:
        folder = Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        model = folder / "resnet18.onnx"
        penstock("zoo", "resnet18", "-o", model, "--force")
        grpc = f"127.0.0.1:{free_port()}"
        url, _ = at_end.enter_context(served(folder, model, ["--grpc", grpc, "--system-shared-memory"]))
        for calls in (
            perf_analyzer(asked.environments, url.removeprefix("http://"), grpc, asked.window),
            kserve(asked.environments, url, grpc),
        ):
            for one in calls:
                print(f"{one.client}: {one.call}: {one.error or 'passed'} {one.seen}".rstrip(), flush=True)
                outcomes.append(one)
    failed = sum(1 for one in outcomes if one.error)
    print(f"{len(outcomes) - failed} of {len(outcomes)} passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
