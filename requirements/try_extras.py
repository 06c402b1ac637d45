"""Install the wheel and the source distribution, with each extra, into empty environments, and try what it is for.

    python requirements/try_extras.py [--python 3.11 --python 3.13] [--extra serve]

Needs uv. Builds both distributions, and makes an environment for each Python and extra. Installs the wheel there with
that extra, within the bounds of pyproject.toml, imports what the extra adds, checks that a package of another extra is
absent, and runs `penstock doctor` and one verb. The source distribution is installed without extras. Prints a table;
exit status 1 if a row failed. The extras torch and ray are large, and tried only if they are named.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")


@dataclass(frozen=True)
class Trial:
    """``imports``: what the extra must bring. ``absent``: what it must not. ``verb``: words after `penstock`."""

    imports: tuple[str, ...]
    absent: tuple[str, ...] = ()
    verb: tuple[str, ...] = ("doctor", "--json")


EVERYTHING = "serve,grpc,report,otel,video,gpu"
PROFILE_VERB = ("profile", "model.onnx", "--device-class", "cpu", "--max-batch", "1", "--seconds", "2", "-o")
TRIALS = {
    "": Trial(("penstock",), ("onnx", "pyarrow", "matplotlib"), ("plan", "scenario.yaml", "-o", "plan.json")),
    "onnx": Trial(("onnx",), ("pyarrow",), ("zoo", "squeezenet1_1", "-o", "model.onnx")),
    "record": Trial(("pyarrow",), ("onnx",), ("simulate", "plan.json", "--seconds", "1", "-o", "record")),
    "report": Trial(
        ("matplotlib", "jinja2"), ("onnx",), ("report", "plan.json", "record", "-o", "page.html")
    ),
    "serve": Trial(("onnxruntime", "zmq", "httptools", "aiohttp"), ("matplotlib",), (*PROFILE_VERB, "cpu")),
    "grpc": Trial(("grpc", "google.protobuf"), ("onnx",)),
    "otel": Trial(("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http"), ("onnx",)),
    "video": Trial(("av",), ("onnx",)),
    "gpu": Trial(("pynvml",), ("onnx",)),
    EVERYTHING: Trial(
        ("penstock.serve.listen.grpc_server", "penstock.serve.observe.traces", "penstock.serve.load.video"),
        ("torch",),
        ("conformance", "--help"),
    ),
    "docs": Trial(("sphinx", "myst_parser", "furo"), ("onnx",)),
    "dev": Trial(("pytest", "mypy", "tritonclient.http", "tritonclient.grpc"), ("torch",)),
    "torch": Trial(("torch",), (), (*PROFILE_VERB, "torch", "--runtime", "torch")),
    "ray": Trial(("ray", "onnxruntime"), (), ("serve", "--help")),
}
"""In this order: a verb may need what an earlier one wrote."""
LARGE = ("torch", "ray")

SCENARIO = """\
version: 1
cluster: {bandwidth_gbps: 10, device_classes: {L4: {count: 2}}}
models:
  - {name: model, profile: profile, slo_ms: 50}
"""
PROFILE = {
    "version": 1,
    "model": {"name": "model"},
    "blocks": [{"name": "all", "operators": [], "parameter_bytes": 0, "peak_activation_bytes": 0}],
    "boundary_bytes": [1000, 1000],
    "provenance": {"kind": "imported", "device": "toy", "software": "toy", "date": "2026-01-01"},
}
TIMES = "device_class,share,block,batch,latency_us\nL4,1,all,1,4000\n"


def environment() -> dict[str, str]:
    """Of child processes: nothing of the environment that this script itself runs in."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}


def run(*command: str | Path, cwd: Path) -> str:
    """The output of a command. Raises :class:`RuntimeError` with its last lines if it fails."""
    done = subprocess.run(
        [*map(str, command)], check=False, cwd=cwd, env=environment(), capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(" | ".join((done.stdout + done.stderr).strip().splitlines()[-3:]))
    return done.stdout


def build(folder: Path) -> tuple[Path, Path]:
    """The wheel and the source distribution."""
    run("uv", "build", "--out-dir", folder, ROOT, cwd=ROOT)
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, sdist


def write_study(folder: Path) -> None:
    """A scenario and its profile."""
    folder.mkdir(parents=True)
    (folder / "scenario.yaml").write_text(SCENARIO)
    (folder / "profile").mkdir()
    (folder / "profile" / "profile.json").write_text(json.dumps(PROFILE))
    (folder / "profile" / "latency.csv").write_text(TIMES)


def try_one(distribution: Path, python: str, extra: str, folder: Path, work: Path) -> int:
    """Install, import, run. The installed size in MB. Raises :class:`RuntimeError` if a step fails."""
    trial = TRIALS[extra]
    run("uv", "venv", "--python", python, folder, cwd=work)
    wanted = f"penstock-serving[{extra}] @ {distribution.as_uri()}"
    run("uv", "pip", "install", "--python", folder / "bin" / "python", wanted, cwd=work)
    size = sum(file.stat().st_size for file in (folder / "lib").rglob("*") if file.is_file())
    interpreter = folder / "bin" / "python"
    for name in trial.imports:
        run(interpreter, "-c", f"import {name}", cwd=work)
    for name in trial.absent:
        run(
            interpreter,
            "-c",
            f"import importlib.util as u; assert not u.find_spec({name!r}), {name!r}",
            cwd=work,
        )
    for words in (("doctor", "--json"), trial.verb):
        run(folder / "bin" / "penstock", *words, cwd=work)
    return round(size / 1e6)


def main() -> int:
    """Try what is asked, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="3.11, 3.12, 3.13; repeatable. Default: all.")
    parser.add_argument(
        "--extra", action="append", choices=TRIALS, help="Repeatable. Default: all but the large ones."
    )
    arguments = parser.parse_args()
    extras = arguments.extra or [extra for extra in TRIALS if extra not in LARGE]
    failed = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheel, sdist = build(folder / "built")
        print(
            f"{wheel.name} {wheel.stat().st_size / 1e6:.1f} MB, {sdist.name} {sdist.stat().st_size / 1e6:.1f} MB"
        )
        for python in arguments.python or PYTHONS:
            work = folder / f"work-{python}"
            write_study(work)
            for kind, distribution, extra in [
                ("sdist", sdist, ""),
                *(("wheel", wheel, extra) for extra in extras),
            ]:
                began = time.perf_counter()
                home = folder / "environment"
                if not extra:
                    (work / "plan.json").unlink(missing_ok=True)
                try:
                    said = f"{try_one(distribution, python, extra, home, work):5} MB"
                except RuntimeError as error:
                    failed += 1
                    said = f"FAILED: {error}"
                took_s = time.perf_counter() - began
                print(f"{python:5} {kind:5} [{extra}]".ljust(48), f"{took_s:5.0f} s  {said}", flush=True)
                shutil.rmtree(home, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
