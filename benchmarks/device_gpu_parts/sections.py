"""What is measured, one function a section. Each adds to the report as it goes, so a failure keeps what came before."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from device_gpu_parts.children import Child
from device_gpu_parts.loaded import Bench, Loaded, now_us
from device_gpu_parts.runs import Direct, Mode, Order, run
from device_gpu_parts.trace import backlog, lognormal_trace
from penstock.schedule.device import ORDERS, DevicePolicy, JobType

WINDOWS = (1, 2, 4, 8, 12, 16, 24, 32)
PAPER_SHARE = 0.048
"""ResNet-18 .952, InceptionV3 .048: the two extremes of the published mix."""
ENOUGH = 0.97
THETAS = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0)


@dataclass
class Bounds:
    """How long sections may take."""

    budget_s: float
    row_s: float
    sigma: float
    began: float = field(default_factory=time.perf_counter)

    def left_s(self) -> float:
        return self.budget_s - (time.perf_counter() - self.began)

    def has_row(self) -> bool:
        """Whether one more row fits: its trace, the rest after it, and the end of the run."""
        return self.left_s() > 1.5 * self.row_s + 2


@dataclass
class Mix:
    """A share of long jobs on one precision, with what it saturates at."""

    name: str
    long_share: float
    saturation_rps: dict[str, float] = field(default_factory=dict)
    capacity_rps: float = 0.0
    window: int = 1

    def trace_told(self, bounds: Bounds, load: float) -> dict[str, Any]:
        """What makes the trace of ``load``, for a child or for us."""
        rate = self.capacity_rps * load
        n = int(np.clip(rate * bounds.row_s, 60, 20_000))
        return {
            "rate_rps": rate,
            "sigma": bounds.sigma,
            "n": n,
            "long_share": self.long_share,
            "seed": 1,
            "limit_s": max(1.0, 0.6 * bounds.row_s),
        }


Report = dict[str, Any]


def overheads(report: Report, loaded: Loaded) -> None:
    """What a launch, a mark and a query cost the host, and what cutting and the host's part cost a job."""
    bench = Bench(loaded.device)
    rows: Report = {
        "short_whole_us": round(loaded.whole_us[0], 1),
        "long_whole_us": round(loaded.whole_us[1], 1),
        "long_over_short": round(loaded.whole_us[1] / loaded.whole_us[0], 2),
        "largest_difference_of_outputs": loaded.largest_difference,
        "cut": [
            {
                "segments": len(cut.boundaries) - 1,
                "whole_us": round(cut.whole_us, 1),
                "cut_us": round(cut.cut_us, 1),
                "cost": round(cut.cost, 4),
                "kept": cut.is_kept,
            }
            for cut in loaded.tried
        ],
        "part_us": [round(us, 1) for us in loaded.part_us],
    }
    report.setdefault("overheads", {})[loaded.dtype] = rows
    chain, hosted = bench.median_us(loaded.long_cut), bench.median_us(loaded.long_cut, hosted=True)
    gap = (hosted - chain) / loaded.long_cut.n_segments
    rows["long_chain_us"], rows["long_hosted_us"] = round(chain, 1), round(hosted, 1)
    rows["host_gap_us_a_segment"] = round(gap, 2)
    copy = loaded.short.copies[0]
    done = copy.done[0]
    rows["launch_us"] = _cost_us(bench, lambda: loaded.device.launch(copy.graphs[0], bench.stream))
    rows["mark_us"] = _cost_us(bench, lambda: loaded.device.mark(done, bench.stream))
    rows["query_us"] = _cost_us(bench, done.query)


def _cost_us(bench: Bench, call: Callable[[], object], times: int = 100) -> float:
    bench.device.wait()
    start = now_us()
    for _ in range(times):
        call()
    spent = now_us() - start
    bench.device.wait()
    return round(spent / times, 2)


def warm_up_policies() -> None:
    """Every order once: some compile on their first call, which must not fall into a row."""
    for name in ORDERS:
        late = "demote" if name == "moore-hodgson" else "keep"
        policy = DevicePolicy(name, late, 1, [JobType("any", stage_us=(10.0,))])
        for job in range(3):
            policy.arrive(job, job, 0, job + 15)
        for now in range(3, 6):
            for release in policy.decide(now).releases:
                policy.finished(now, release.job, release.stage)
                policy.cancel(2)


def _saturation(loaded: Loaded, long_share: float, mode: Mode, seconds: float) -> float:
    n = int(np.clip(seconds * loaded.serial_rps(long_share), 24, 4000))
    row = run(loaded, backlog(n, long_share), mode, limit_s=20 * seconds + 2)
    rate: float = row["rate_rps"]
    return rate


def side_by_side(report: Report, loaded: Loaded, seconds: float) -> None:
    """How n jobs at once slow each other down: n over the speed-up is 1 + a (n - 1). Whole models, first come."""
    for name, share in (("short", 0.0), ("long", 1.0)):
        rates: dict[str, float] = {}
        report.setdefault("side_by_side", {}).setdefault(loaded.dtype, {})[name] = {"rps_by_window": rates}
        widths = [n for n in (1, 2, 4, 8, 16) if n <= len(loaded.long_whole.copies)]
        for window in widths:
            rates[str(window)] = _saturation(loaded, share, Order("fifo", window, cut=False), seconds)
        others = [(n, n / (rates[str(n)] / rates["1"])) for n in widths if n > 1]
        fitted = sum((n - 1) * (slowed - 1) for n, slowed in others) / sum((n - 1) ** 2 for n, _ in others)
        report["side_by_side"][loaded.dtype][name]["a"] = round(fitted, 4)


def window_sweep(report: Report, loaded: Loaded, mix: Mix, seconds: float) -> None:
    """Saturation against the window, and the smallest window with at least 97% of the best."""
    rates: dict[int, float] = {}
    told: Report = {
        "long_share": round(mix.long_share, 4),
        "serial_rps": round(loaded.serial_rps(mix.long_share), 1),
    }
    report.setdefault("saturation", {}).setdefault(loaded.dtype, {})[mix.name] = told
    for window in WINDOWS * 2:
        # The better of two: what else the host does only ever slows a run.
        rate = _saturation(loaded, mix.long_share, Order("fifo", window), seconds)
        rates[window] = max(rate, rates.get(window, 0.0))
        told["cut_rps_by_window"] = {str(key): rate for key, rate in rates.items()}
    mix.window = min(window for window, rate in rates.items() if rate >= ENOUGH * max(rates.values()))
    told["window"] = mix.window
    whole = told["others_rps"] = {}
    modes: list[Mode] = [
        Direct("many-streams"),
        Direct("one-stream"),
        Order("fifo", 1, cut=False),
        Order("fifo", mix.window, cut=False),
        Order("srpt", mix.window),
    ]
    for mode in modes:
        whole[mode.label] = _saturation(loaded, mix.long_share, mode, seconds)
    # What all rows are offered a part of: the most that any of them carries.
    mix.capacity_rps = max(*rates.values(), *whole.values())
    told["capacity_rps"] = mix.capacity_rps


def modes_of(load: float, window: int) -> tuple[list[Mode], list[Mode]]:
    """The rows of one load: those that come first if time is short, and the others."""
    first: list[Mode] = [
        Direct("many-streams"),
        Order("fifo", 1, cut=False),
        Order("fifo", window, cut=False),
        Order("sjf", window, cut=False),
        Order("srpt", window),
        Order("srpt-deficit", window, theta=50.0),
        Order("moore-hodgson", window, late="demote"),
    ]
    others: list[Mode] = [Direct("one-stream"), Direct("priorities"), Order("edf", window, late="demote")]
    if load == 0.8:
        others += [
            Order("fifo", window),
            Order("edf", window),
            Order("moore-hodgson", window, late="drop"),
            Order("moore-hodgson", window, late="demote", miss_budget=0.01),
            Order("priority", window),
            Order("round-robin", window),
        ]
    return first, others


def orders(
    report: Report,
    loaded: Loaded,
    mix: Mix,
    load: float,
    modes: Sequence[Mode],
    bounds: Bounds,
    *,
    stack: bool = False,
) -> None:
    """The same trace under every one of ``modes``."""
    told = mix.trace_told(bounds, load)
    trace = lognormal_trace(told["rate_rps"], told["sigma"], told["n"], told["long_share"], told["seed"])
    for mode in modes:
        where = {
            "dtype": loaded.dtype,
            "mix": mix.name,
            "load": load,
            "offered_rps": round(told["rate_rps"], 1),
        }
        if not bounds.has_row():
            report["skipped"].append({**where, "mode": mode.label})
            continue
        try:
            row = run(loaded, trace, mode, limit_s=told["limit_s"], stack=stack and isinstance(mode, Order))
        except Exception as error:  # the other ways still run
            failed = {"section": "row", **where, "mode": mode.label}
            report["failed"].append(failed | {"error": f"{type(error).__name__}: {error}"[:400]})
        else:
            report["rows"].append(where | row)


def drain_curve(report: Report, children: dict[int, Child]) -> None:
    """The time to empty a fixed amount of work against hardware queues."""
    for queues, child in children.items():
        try:
            report.setdefault("drain", []).append(child.ask({}, 25))
        finally:
            child.end()
        assert report["drain"][-1]["queues"] == queues


def green_contexts(
    report: Report, loaded: Loaded, mixes: Sequence[Mix], bounds: Bounds, child: Child
) -> None:
    """Half of the multiprocessors each, and none shared, at 80%."""
    try:
        for mix in mixes:
            told = mix.trace_told(bounds, 0.8) | {"whole_us": loaded.whole_us}
            row = child.ask(told, 3 * bounds.row_s + 15)
            report["rows"].append({"dtype": loaded.dtype, "mix": mix.name, "load": 0.8, **row})
    finally:
        child.end()


def processes(
    report: Report, loaded: Loaded, mixes: Sequence[Mix], bounds: Bounds, children: Sequence[Child], name: str
) -> None:
    """A process a model, at 80%; ``name`` says whether they share the device by the multi-process service."""
    try:
        for mix in mixes:
            told = mix.trace_told(bounds, 0.8) | {"whole_us": loaded.whole_us}
            start_us = now_us() + 300_000
            for child in children:
                child.tell({**told, "start_us": start_us})
            short, long = (child.hear(3 * bounds.row_s + 15) for child in children)
            row: Report = {"dtype": loaded.dtype, "mix": mix.name, "load": 0.8, "mode": f"direct, {name}"}
            row |= {"offered_rps": round(told["rate_rps"], 1), "jobs": short["jobs"] + long["jobs"]}
            row |= {
                "lost": short["lost"] + long["lost"],
                "short": short.get("short"),
                "long": long.get("short"),
            }
            report["rows"].append(row)
    finally:
        for child in children:
            child.end()


class Mps:
    """A multi-process service of our own in a temporary folder; the device's settings stay as they are."""

    def __init__(self) -> None:
        self.control = shutil.which("nvidia-cuda-mps-control")
        self.folder = tempfile.mkdtemp(prefix="device-gpu-mps-")
        self.is_up = False
        self.environment = {"CUDA_MPS_PIPE_DIRECTORY": self.folder, "CUDA_MPS_LOG_DIRECTORY": self.folder}

    def _call(self, arguments: Sequence[str], text: str | None = None) -> None:
        assert self.control is not None
        subprocess.run(
            [self.control, *arguments],
            input=text,
            env={**os.environ, **self.environment},
            check=True,
            capture_output=True,
            text=True,
            timeout=20,
        )

    def start(self) -> None:
        self._call(["-d"])
        self.is_up = True

    def stop(self) -> None:
        try:
            if self.is_up:
                self._call([], "quit\n")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)
