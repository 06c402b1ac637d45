"""Two models that take turns on the device, by the verbs that a user has: measured, served alone, planned and served.

A short and a long model, one sample a job. ``profile --beside`` cuts the long one; ``device serve`` serves both under
several orders with the same arrivals; then ``plan --hold`` plans the device with ``scheduled: true``, and ``serve`` and
``simulate`` say what the plan holds.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from gpu_parts.client import ThinClient
from gpu_parts.common import Json, Run, penstock, table
from penstock.errors import PenstockError
from penstock.profile.store import load_profile
from penstock.serve.local_server import LocalServer
from penstock.serve.scheduled.device_log import check_device_log

PRECISION = "fp32"
LOAD = 0.8
SIGMA = 1.5
"""Of the lognormal gaps: bursty."""
WINDOW = 16
IN_FLIGHT = 32


@dataclass(frozen=True)
class Way:
    """One way to serve: the order, and how many segments run at once."""

    order: str
    threads: int

    @property
    def label(self) -> str:
        return f"{self.order}, {self.threads} threads"


WAYS = (Way("srpt", WINDOW), Way("moore-hodgson", WINDOW), Way("fifo", WINDOW), Way("fifo", 1))
"""The first one's saturation says what all are offered."""


def turn_models(run: Run) -> tuple[tuple[str, int], tuple[str, int]]:
    """The short and the long model, with their image sizes."""
    if run.tiny:
        return ("squeezenet1_1", 32), ("mobilenet_v2", 32)
    return ("resnet18", 224), ("inception_v3", 299)


def run_turns(run: Run, device_class: str) -> Json:
    """Everything of this section; what fails is kept beside what was found before."""
    folder = run.work / "turns"
    folder.mkdir(exist_ok=True)
    profiles = measure_profiles(run, device_class, folder)
    cuts = [_cut_of(path, device_class) for path in profiles]
    found: Json = {"profiles": cuts, "ways": []}
    offered_rps: float | None = None
    for way in WAYS[:1] if run.tiny else WAYS:
        row: Json = {"way": way.label} | _or_failure(
            partial(serve_one_way, run, profiles, cuts, way, offered_rps)
        )
        offered_rps = row.get("offered_rps", offered_rps)
        found["ways"].append(row)
    found["plan"] = _or_failure(partial(run_plan, run, device_class, profiles, cuts))
    return found


def _or_failure(make: Callable[[], Json]) -> Json:
    try:
        return make()
    except (PenstockError, RuntimeError, subprocess.TimeoutExpired) as error:
        return {"failed": f"{type(error).__name__}: {error}"[-1500:]}


def measure_profiles(run: Run, device_class: str, folder: Path) -> list[Path]:
    """``penstock profile`` of the short model, and of the long one beside it."""
    made: list[Path] = []
    for name, image_size in turn_models(run):
        out = folder / name
        arguments = ["profile", str(run.model_file(name, image_size)), "--device-class", device_class]
        arguments += ["--executor", "torch", "--device", run.device, *_precision(run)]
        arguments += ["--max-batch", "1", "--seconds", "1" if run.tiny else "6", "-o", str(out)]
        arguments += ["--beside", str(made[0])] if made else []
        penstock(arguments, timeout_s=run.limit_s(60.0, 120.0))
        made.append(out)
    return made


def _precision(run: Run) -> list[str]:
    return [] if run.tiny else ["--precision", PRECISION]


def _cut_of(path: Path, device_class: str) -> Json:
    profile = load_profile(path)
    whole_us = int(profile.table(device_class, 1).span_us(0, len(profile.blocks))[0])
    cut = profile.cuts.get(device_class)
    found: Json = {"model": profile.model, "whole_us": whole_us, "segments": 1, "cut_cost": 0.0}
    if cut is not None:
        found |= {"segments": len(cut.boundaries) - 1, "cut_cost": round(cut.cost, 4)}
    return found


def equal_work(cuts: Sequence[Json]) -> tuple[float, float]:
    """The models' shares of the requests that give both the same work."""
    short_us, long_us = (one["whole_us"] for one in cuts)
    return long_us / (short_us + long_us), short_us / (short_us + long_us)


def serve_one_way(
    run: Run, profiles: Sequence[Path], cuts: Sequence[Json], way: Way, offered_rps: float | None
) -> Json:
    """``device serve``: its saturation by clients that wait, then bursts at ``offered_rps``, or at :data:`LOAD`."""
    names = [path.name for path in profiles]
    journal = profiles[0].parent / f"{way.order}-{way.threads}.jsonl"
    arguments = [str(profiles[1]), "--order", way.order, "--threads", str(way.threads)]
    arguments += ["--executor", "torch", "--device", run.device, *_precision(run), "--journal", str(journal)]
    seconds = 1.0 if run.tiny else 2.5
    row: Json = {}
    with LocalServer(profiles[0], arguments, verb=("device", "serve"), ready_s=120.0) as server:
        for name in names:
            with ThinClient(server.url, name) as client:
                client.times_us(5)
                row[f"{name} alone p50, us"] = float(np.median(client.times_us(20)))
        asked = [*_asked(names), "--mix", "/".join(f"{part:.4f}" for part in equal_work(cuts))]
        closed = _load(
            server.url, [*asked, "--concurrency", str(IN_FLIGHT), "--seconds", str(seconds), "--seed", "1"]
        )
        row["saturation_rps"] = _answered(closed) / seconds
        row["offered_rps"] = offered_rps or LOAD * row["saturation_rps"]
        spread = ["--rate", repr(row["offered_rps"]), "--arrivals", f"lognormal:sigma={SIGMA}", "--seed", "2"]
        opened = _load(server.url, [*asked, *spread, "--seconds", str(2 * seconds)])
    row["client_lag_us"] = opened["client_lag_us"]
    row["models"] = opened["models"]
    row["decisions replayed"] = check_device_log(journal)
    return row


def _asked(names: Iterable[str]) -> list[str]:
    return [word for name in names for word in ("--model", name)]


def _load(url: str, arguments: Sequence[str]) -> Json:
    return penstock(["load", url, *arguments], timeout_s=120.0)


def _answered(figures: Json) -> int:
    """Requests with an answer, in time or late."""
    return sum(int(model["outcomes"][what]) for model in figures["models"] for what in ("met", "late"))


def run_plan(run: Run, device_class: str, profiles: Sequence[Path], cuts: Sequence[Json]) -> Json:
    """A plan in which the device takes turns: what it is said to hold, simulated and measured at :data:`LOAD`."""
    wanted: Json = {"count": 1}
    if not run.tiny:
        wanted["requires"] = {"nvidia": device_class}
    models = [
        {
            "name": path.name,
            "profile": str(path),
            "slo_ms": 40 + 20 * cut["whole_us"] / 1e3,
            "estimated_rps": 1000 * part,
        }
        for path, cut, part in zip(profiles, cuts, equal_work(cuts), strict=True)
    ]
    scenario = {
        "version": 1,
        "cluster": {"bandwidth_gbps": 25, "device_classes": {device_class: wanted}},
        "models": models,
        "planner": {"scheduled": True},
    }
    folder = profiles[0].parent
    written = folder / "scenario.yaml"
    written.write_text(json.dumps(scenario))  # JSON is YAML
    plan = folder / "plan.json"
    penstock(["plan", str(written), "--hold", "0.99", "-o", str(plan)], timeout_s=240.0)
    seconds = 2.0 if run.tiny else 8.0
    arguments = ["--executor", f"{device_class}=torch", "--device", f"{device_class}={run.device}"]
    if not run.tiny:
        # Which device a class needs is in the plan.
        arguments = ["--executor", f"{device_class}=torch", "--precision", f"{device_class}={PRECISION}"]
    rates = {model["name"]: model["rate_rps"] for model in json.loads(plan.read_text())["models"]}
    found: Json = {"rates_rps": rates, "windows": []}
    simulated = penstock(
        ["simulate", str(plan), "--load", str(LOAD), "--seconds", str(seconds), "--seed", "1"], timeout_s=120
    )
    found["simulated"] = simulated["models"]
    for window in (1,) if run.tiny else (1, WINDOW):
        with LocalServer(plan, [*arguments, "--window", str(window)], ready_s=120.0) as server:
            asked = _asked(rates)
            asked += [word for name in rates for word in ("--rate", f"{name}={LOAD * rates[name]!r}")]
            _load(server.url, [*asked, "--seconds", "1", "--seed", "3"])
            measured = _load(server.url, [*asked, "--seconds", str(seconds), "--seed", "1"])
        found["windows"].append(
            {"window": window, "models": measured["models"], "lag_us": measured["client_lag_us"]}
        )
    return found


def turns_table(found: Json) -> str:
    """The cut, the orders, and the plan."""
    cut = [[one[key] for key in ("model", "whole_us", "segments", "cut_cost")] for one in found["profiles"]]
    parts = [table("Turns: profiles", ["model", "whole, us", "segments", "the cut costs"], cut)]
    rows: list[list[object]] = []
    for row in found["ways"]:
        if "failed" in row:
            rows.append([row["way"], row["failed"][:200]])
            continue
        rates = [row["saturation_rps"], row["offered_rps"]]
        rows += [[row["way"], *rates, *_figures(model)] for model in row["models"]]
    heads = ["way", "saturation /s", "offered /s", *FIGURES]
    parts.append(table(f"device serve: equal work, lognormal gaps of sigma {SIGMA}", heads, rows))
    plan = found["plan"]
    if "failed" in plan:
        parts.append(f"The plan by turns: {plan['failed']}\n")
        return "\n".join(parts)
    rows = [["simulated", *_figures(model)] for model in plan["simulated"]]
    for one in plan["windows"]:
        rows += [[f"measured, window {one['window']}", *_figures(model)] for model in one["models"]]
    title = (
        f"A plan by turns at {LOAD} of {', '.join(f'{rate:.1f}' for rate in plan['rates_rps'].values())}/s"
    )
    parts.append(table(title, ["figure", *FIGURES], rows))
    return "\n".join(parts)


FIGURES = ["model", "requests", "attainment", "mean, us", "p50, us", "p99, us"]


def _figures(model: Json) -> list[object]:
    return [model[key] for key in ("name", "requests", "attainment", "mean_us", "p50_us", "p99_us")]
