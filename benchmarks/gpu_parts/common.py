"""What the sections share: the settings of a run, the models, child processes, medians."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from penstock.runtime.settings import RuntimeSettings

ROOT = Path(__file__).parents[2]

SHORT_S = 60.0
"""A budget below this has no room for two models on a CPU."""

HANGS_S = 600.0
"""A check of the logic runs every section, however slow the machine: one that was skipped would prove nothing."""

Json = dict[str, Any]


@dataclass
class Run:
    """One run of the benchmark. ``tiny`` is a check of the logic on a CPU, ``quick`` one of every section on a GPU."""

    device: str
    budget_s: float
    out: Path
    work: Path
    quick: bool = False
    profile_s: float = 60.0
    asked_precisions: tuple[str, ...] = ()
    began: float = field(default_factory=time.perf_counter)
    found: Json = field(default_factory=dict)

    @property
    def tiny(self) -> bool:
        """Whether no GPU is asked for."""
        return self.device == "cpu"

    @property
    def precisions(self) -> tuple[str, ...]:
        """What is measured on the device."""
        if self.asked_precisions:
            return self.asked_precisions
        return ("fp32",) if self.tiny else ("fp32", "tf32", "fp16")

    @property
    def blocks(self) -> int:
        """How many a model is cut into."""
        return 3 if self.tiny else 6

    @property
    def models(self) -> tuple[tuple[str, int], ...]:
        """Name and image size of the two models."""
        if self.tiny:
            return (("squeezenet1_1", 32), ("mobilenet_v2", 32))
        return (("resnet50", 224), ("densenet121", 224))

    @property
    def measured_models(self) -> tuple[tuple[str, int], ...]:
        """Those that the executor and profiles are measured with: one, in a short check of the logic."""
        return self.models[:1] if self.quick or (self.tiny and self.budget_s < SHORT_S) else self.models

    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget_s - (time.perf_counter() - self.began)

    def limit_s(self, least: float, most: float) -> float:
        """What a child process may take: what is left, within limits. On a CPU the time that only a hang takes."""
        return HANGS_S if self.tiny else max(least, min(most, self.left_s()))

    def model_file(self, name: str, image_size: int) -> Path:
        """The model with seeded weights, written on first use."""
        path = self.work / f"{name}.onnx"
        if not path.exists():
            from penstock.zoo import build

            path.write_bytes(build(name, seed=0, image_size=image_size).SerializeToString())
        return path


def use_source() -> None:
    """Let every process that this one starts find the package, installed or not, and count GPUs as the driver does."""
    os.environ["PYTHONPATH"] = environment()["PYTHONPATH"]
    from penstock.device.cuda_order import number_as_the_driver_does

    number_as_the_driver_does()


def torch_settings(device: str, precision: str, mode: str | None = None) -> RuntimeSettings:
    """For torch; the words are checked there."""
    chosen: Json = {"kind": "torch", "device": device, "precision": precision, "mode": mode}
    return RuntimeSettings(**chosen)


def environment(**more: str) -> dict[str, str]:
    """This process's, with the package on the path of its children."""
    paths = [str(ROOT / "src"), str(ROOT / "benchmarks"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path), **more}


def child(
    module: str, arguments: Sequence[str], timeout_s: float, env: Mapping[str, str] | None = None
) -> Json:
    """The JSON that ``python -m gpu_parts.MODULE`` prints last; its error, if it fails, as :class:`RuntimeError`."""
    command = [sys.executable, "-m", f"gpu_parts.{module}", *arguments]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        env=dict(env or environment()),
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{module} ended with status {done.returncode}: {done.stderr[-3000:]}")
    result: Json = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def penstock(arguments: Sequence[str], timeout_s: float = 120.0) -> Json:
    """The JSON of a verb of the command line."""
    command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *arguments, "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=timeout_s, env=environment(), check=False
    )
    if done.returncode:
        raise RuntimeError(f"penstock {' '.join(arguments)}: {done.stderr[-3000:]}")
    result: Json = json.loads(done.stdout)
    return result


def quantiles(times_us: Sequence[float]) -> Json:
    """Median and 99th percentile of times in microseconds."""
    times = np.asarray(times_us, float)
    return {
        "p50_us": round(float(np.median(times)), 1),
        "p99_us": round(float(np.quantile(times, 0.99)), 1),
        "runs": len(times),
    }


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"### {title}", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return "" if value is None else str(value)
