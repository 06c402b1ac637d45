"""One L4, a model of 4 ms and one of 60 ms, equal work, SLO 5 x: side by side, in turn, or scheduled."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from device_parts.rows import Table
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.simulate.device.held_load import Judge
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import SharedModel, cut_by_rule, equal_work
from penstock.simulate.device.setups import SETUPS, Setup

WANTED_RPS = (77.0, 5.2)


def run_example(jobs: int, seeds: int) -> list[str]:
    table = Table(
        "Worked example: one L4, A 4 ms (SLO 20), B 60 ms (SLO 300), equal work, Poisson, every model at 99%"
    )
    models = equal_work(
        [SharedModel("A", (4000.0,), slo_us=20_000), SharedModel("B", (60_000.0,), slo_us=300_000)]
    )
    beside = []
    for model in models:
        half = replace(
            model, segment_us=(2 * model.own_us,)
        )  # an L4 gains nothing: half the device, twice the time
        judge = Judge.drawn([half], Interference(0.0), jobs=jobs, seeds=range(seeds))
        beside.append(judge.rate_rps(judge.held_loads(Setup("fifo"), 0.99)[1]))
    table.show(
        f"side by side (two halves): A {beside[0]:.1f}/s, B {beside[1]:.2f}/s; the design says 24 and 1.6"
    )
    judge = Judge.drawn(cut_by_rule(models), Interference(1.0), jobs=jobs, seeds=range(seeds))
    for name in ("job-by-job", "direct-ms", "srpt", "edf-demote", "moore-hodgson", "moore-hodgson-budgets"):
        rates = _rates(judge, SETUPS[name])
        table.show(f"{name:22s}: A {rates[0]:.1f}/s, B {rates[1]:.2f}/s")
    rates = _rates(judge, SETUPS["moore-hodgson-budgets"])
    holds = all(abs(got / wanted - 1) <= 0.1 for got, wanted in zip(rates, WANTED_RPS, strict=True))
    table.claim("scheduled rates", f"{rates[0]:.1f} + {rates[1]:.2f}", "77 + 5.2, within 10%", holds)
    return table.failed


def _rates(judge: Judge, setup: Setup) -> tuple[float, float]:
    rate_rps = judge.rate_rps(judge.held_loads(setup, 0.99)[1])
    total = sum(model.share for model in judge.models)
    short, long = (rate_rps * model.share / total for model in judge.models)
    return short, long


def run_plan() -> list[str]:
    """The same example through the commands: ``plan --hold`` chooses, ``explain`` says why."""
    table = Table("Worked example as a plan: penstock plan --hold 0.99, then penstock explain")
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, block_us in (("a", [4_000]), ("b", [7_500] * 8)):
            save_profile(_profile(name, block_us), root / name, force=True)
        (root / "scenario.yaml").write_text(SCENARIO)
        _penstock(root, "plan", "scenario.yaml", "--hold", "0.99", "-o", "plan.json")
        plan = json.loads((root / "plan.json").read_text())
        explained = _penstock(root, "explain", "plan.json")
    table.claim(
        "the plan shares the device by turns",
        str(plan["scheduled"] is not None),
        "True",
        bool(plan["scheduled"]),
    )
    rates = [model["verified"]["rate_rps"] for model in plan["models"]]
    holds = all(abs(got / wanted - 1) <= 0.1 for got, wanted in zip(rates, WANTED_RPS, strict=True))
    table.claim("verified rates", f"{rates[0]:.1f} + {rates[1]:.2f}", "77 + 5.2, within 10%", holds)
    reason = [line for line in explained.splitlines() if "turns by segments" in line]
    table.claim("explain says why", "; ".join(reason), "a reason", bool(reason))
    return table.failed


SCENARIO = """\
version: 1
cluster:
  bandwidth_gbps: 10
  device_classes:
    L4: {count: 1, max_share: 2}
models:
  - {name: a, profile: a, slo_ms: 20, weight: 15}
  - {name: b, profile: b, slo_ms: 300, weight: 1}
planner: {max_stages: 1, scheduled: true}
"""


def _profile(name: str, block_us: list[int]) -> Profile:
    rows = np.outer(block_us, np.arange(1, 5))  # neither batches nor halves of an L4 gain anything
    return Profile(
        model=name,
        blocks=tuple(Block(f"b{i}", (f"op{i}",), 0, 0) for i in range(len(block_us))),
        boundary_bytes=(0,) * (len(block_us) + 1),
        tables={("L4", share): LatencyTable(rows * share) for share in (1, 2)},
        provenance=Provenance("imported", "the design's example", "none", "2026-11-26"),
    )


def _penstock(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "penstock.cli.main", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
