"""What ``penstock conformance`` says of this server and of others, by feature, over HTTP and gRPC.

    python benchmarks/conformance_peers.py
    python benchmarks/conformance_peers.py --failed     # and every check that failed, with what was seen

All serve the same ONNX file, which doubles its input. The others get environments of their own, which are made once.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import onnx
from onnx import TensorProto, helper

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))

from serve_parts.overhead import free_port
from serve_parts.peer_servers import environment, started, version_of
from serve_parts.resnet import served

PEERS = {
    "Triton": ("nvidia-pytriton", "triton_server.py", ()),
    "MLServer": ("mlserver", "mlserver_server.py", ("Numbers",)),
}
"""Package, script, and what its script gets after model and port."""
WIDTH = 8


def write_double(path: Path) -> Path:
    """``y = 2 x``, for any number of samples."""
    samples = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("x", "y", "two")
    ]
    two = helper.make_tensor("two", TensorProto.FLOAT, [], [2.0])
    node = helper.make_node("Mul", ["x", "two"], ["y"], name="double")
    graph = helper.make_graph([node], "double", samples[:1], samples[1:2], [two])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def checks_of(url: str) -> list[dict[str, Any]]:
    """The outcome of every check of the server at ``url``."""
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()"]
    command += ["conformance", url, "--model", "double", "--json", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    if "servers" not in found:
        raise RuntimeError(found["error"])
    checks: list[dict[str, Any]] = found["servers"][0]["checks"]
    return checks


def measure(folder: Path, environments: Path) -> dict[str, list[dict[str, Any]]]:
    """The checks of each server that comes up, by its name and version."""
    model = write_double(folder / "double.onnx")
    outcomes = {}
    with ExitStack() as at_end:
        grpc = f"127.0.0.1:{free_port()}"
        url, _ = at_end.enter_context(served(folder, model, ["--grpc", grpc]))
        outcomes[f"Penstock {says(url)}"] = checks_of(url) + checks_of(f"grpc://{grpc}")
    for name, (package, script, more) in PEERS.items():
        port = free_port()
        try:
            python = environment(package, (package, "onnxruntime"), environments)
            log = environments / f"{package}.log"
            with started(python, script, (model, port, *more), port, log):
                url = f"http://127.0.0.1:{port}"
                _until_ready(url)
                server = f"{name} {says(url)}"
                checks = checks_of(url) + checks_of(f"grpc://127.0.0.1:{port + 1}")
        except (RuntimeError, OSError, subprocess.SubprocessError) as error:
            print(f"{name} is left out: {error}")
            continue
        outcomes[f"{server} ({package} {version_of(python, package)})"] = checks
    return outcomes


def says(url: str) -> str:
    """The version that a server says it has."""
    with urlopen(f"{url}/v2", timeout=10) as answer:
        return str(json.loads(answer.read())["version"])


def _until_ready(url: str, limit_s: float = 60.0) -> None:
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        try:
            with urlopen(f"{url}/v2/models/double/ready", timeout=5) as answer:
                if answer.status == 200:
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.5)
    raise RuntimeError("the model does not become ready")


def show(outcomes: dict[str, list[dict[str, Any]]]) -> None:
    """By protocol and feature: passed of those that were not skipped."""
    rows: dict[tuple[str, str], dict[str, Counter[str]]] = {}
    for server, checks in outcomes.items():
        for check in checks:
            for key in ((check["protocol"], check["feature"]), (check["protocol"], "all")):
                rows.setdefault(key, {}).setdefault(server, Counter())[check["status"]] += 1
    print(f"\n| protocol | feature | {' | '.join(outcomes)} |\n|---|---|{'---|' * len(outcomes)}")
    for (protocol, feature), counts in sorted(rows.items(), key=lambda row: (row[0][0], row[0][1] == "all")):
        cells = [_cell(counts.get(server, Counter())) for server in outcomes]
        print(f"| {protocol} | {feature} | {' | '.join(cells)} |")


def _cell(counts: Counter[str]) -> str:
    skipped = f", {counts['skip']} skipped" if counts["skip"] else ""
    return f"{counts['pass']} of {counts['pass'] + counts['fail']}{skipped}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "penstock-peers")
    parser.add_argument("--failed", action="store_true", help="show what failed")
    asked = parser.parse_args()
    asked.environments.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        outcomes = measure(Path(folder), asked.environments)
    print(f"{time.strftime('%Y-%m-%d')}, Python {platform.python_version()}")
    show(outcomes)
    if asked.failed:
        for server, checks in outcomes.items():
            for one in checks:
                if one["status"] == "fail":
                    print(f"{server}: {one['protocol']} {one['feature']}: {one['name']}: {one['seen'][:160]}")


if __name__ == "__main__":
    main()
