"""Deadlines on one device: the load that each order holds at 99%, and what it costs the mean."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from device_parts.rows import Table
from penstock.simulate.device.held_load import Judge
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import cut_by_rule, eight_models, with_slo
from penstock.simulate.device.setups import SETUPS, Setup

THETAS = (200.0, 1000.0)


def run_deadlines(jobs: int, seeds: int) -> list[str]:
    table = Table(
        f"Deadlines: eight models, Poisson, SLO 5 x own time, taking turns, {seeds} seeds x {jobs} jobs"
    )
    models = with_slo(cut_by_rule(eight_models()), 5)
    judge = Judge.drawn(models, Interference(1.0), jobs=jobs, seeds=range(seeds))
    setups = {
        name: SETUPS[name] for name in ("srpt", "edf", "edf-demote", "moore-hodgson", "moore-hodgson-budgets")
    }
    setups |= {
        f"srpt-deficit theta={theta:g}": replace(SETUPS["srpt-deficit"], theta=theta) for theta in THETAS
    }
    held = {}
    for name, setup in setups.items():
        held[name] = over_all, every = judge.held_loads(setup, 0.99)
        table.show(f"{name:24s} load at 99%: all jobs {over_all:.3f}, every model {every:.3f}")
    rivals = [held[name] for name in held if name.startswith("srpt-deficit")]
    best_all, best_every = max(one for one, _ in rivals), max(one for _, one in rivals)
    ours, _ = held["moore-hodgson"]
    _, ours_every = held["moore-hodgson-budgets"]
    table.claim(
        "Moore-Hodgson / best srpt-deficit over theta, all jobs",
        ours / best_all,
        ">= 1.12",
        ours >= 1.12 * best_all,
    )
    table.claim(
        "with miss budgets / best srpt-deficit, every model",
        ours_every / best_every,
        ">= 1.2",
        ours_every >= 1.2 * best_every,
    )
    load = min(ours, 0.7)
    stretch = {
        name: _stretch(judge, SETUPS[name], load)
        for name in ("srpt", "moore-hodgson", "moore-hodgson-budgets")
    }
    for name in ("moore-hodgson", "moore-hodgson-budgets"):
        ratio = stretch[name] / stretch["srpt"]
        table.claim(f"mean stretch of {name} / SRPT's at load {load:.2f}", ratio, "<= 1.2", ratio <= 1.2)
    return table.failed


def _stretch(judge: Judge, setup: Setup, load: float) -> float:
    return fmean(float(record.stretch().mean()) for record in judge.records(setup, load))
