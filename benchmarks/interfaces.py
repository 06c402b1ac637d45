"""Interfaces: what it would be worth if the devices of a host shared its interface as they need it.

The planner gives each device an equal part of its host's interface, as published. Two other rules are compared by the
bound of the relaxation (16 scenarios of set maf19, two stages, devices shared), for several margins: the interfaces of
a class are shared by all of its devices, so only sums count; and interfaces have no limit at all. Whole workers and
queueing are not counted.

Needs the reference data at ``../shared/data`` from the repository's root (or a folder named as the first argument).

    python benchmarks/interfaces.py [DATA]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from penstock.arrays import F64
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.worker_program import meet_demand
from penstock.plan.highs import Rows, run
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.space import TemplateSpace
from penstock.plan.templates.table import LatencyBudget, Templates, list_templates
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.profile.table import Profile
from penstock.units import US_PER_S

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MARGINS = (0.0, 0.1, 0.2)
EQUAL, POOLED, FREE = "equal parts", "shared", "no limit"
ROUNDS = 3
"""Of the rate at which batches gather, as in the closed loop."""


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", nargs="?", type=Path, default=DATA)
    artifact = arguments.parse_args().data / "ppipe-artifact"
    if not artifact.is_dir():
        print(f"{artifact}: no reference data, nothing to measure.")
        return
    profiles = read_profiles(artifact)
    imported = read_plans(artifact, profiles)
    print(
        f"{'bound of the relaxation':26}"
        + "".join(f"{f'margin {margin:g}':>12}{POOLED:>10}{FREE:>10}" for margin in MARGINS)
    )
    gains = []
    for name, scenario in imported.scenarios.items():
        if not name.startswith("maf19-"):
            continue
        cells, row = "", []
        for margin in MARGINS:
            equal, pooled, free = (bound(scenario, profiles, margin, rule) for rule in (EQUAL, POOLED, FREE))
            row += [pooled / equal - 1, free / equal - 1]
            cells += f"{equal:12.0f}{row[-2]:10.2%}{row[-1]:10.2%}"
        label = f"{name.removeprefix('maf19-')[:12]} {'+'.join(scenario.cluster.device_classes)}"
        print(f"{label:26}{cells}", flush=True)
        gains.append(row)
    for what, figures in (("mean", np.mean(gains, axis=0)), ("median", np.median(gains, axis=0))):
        cells = "".join(f"{'':12}{pooled:10.2%}{free:10.2%}" for pooled, free in figures.reshape(-1, 2))
        print(f"{what:26}{cells}")


def bound(scenario: Scenario, profiles: Mapping[str, Profile], margin: float, rule: str) -> float:
    """The bound if every model has ``margin``, in requests per second of unit weight."""
    question = PlanningQuestion(
        scenario.with_planner(max_stages=2, batch_build_factor=1.0, share_devices=True), profiles
    )
    weight, found = question.fleet.weight, np.inf
    for _ in range(ROUNDS):
        parts = []
        for m, model in enumerate(scenario.models):
            budget = LatencyBudget(model.latency_slo_us * (1 - margin), US_PER_S / (found * float(weight[m])))
            space = question.space(m, budget)
            if rule != EQUAL:
                space = replace(space, per_host=np.zeros_like(space.per_host))
            parts.append(needs(space))
        found = most(question, parts, rule == POOLED)
    return found


def needs(space: TemplateSpace) -> F64:
    """What a request per second takes of devices, uplinks and downlinks, by class: (templates, 3, classes)."""
    templates = list_templates(space)
    classes = len(space.sample_us[0])
    found = np.zeros((len(templates), 3, classes))
    for s in range(templates.share.shape[1]):
        rows = np.flatnonzero(templates.device_class[:, s] >= 0)
        here = templates.device_class[rows, s]
        np.add.at(found, (rows, 0, here), 1.0 / templates.device_rps[rows, s])
        if s:
            before = templates.device_class[rows, s - 1]
            part = _sample_us(space, templates, rows, s) / US_PER_S
            np.add.at(found, (rows, 1, before), part)
            np.add.at(found, (rows, 2, here), part)
    return np.unique(found.round(9), axis=0)


def _sample_us(space: TemplateSpace, templates: Templates, rows: np.ndarray, s: int) -> F64:
    cut = templates.cuts[rows, s]
    return space.sample_us[cut, templates.device_class[rows, s - 1], templates.device_class[rows, s]]


def most(question: PlanningQuestion, parts: list[F64], counts_interfaces: bool) -> float:
    """The most throughput: a linear program over the rates of all templates."""
    rows, cluster = Rows(), question.scenario.cluster
    columns = [np.array([rows.column() for _ in part]) for part in parts]
    scale = question.fleet.weight
    meet_demand(
        rows, question.fleet, columns, [np.full(len(c), 1.0 / w) for c, w in zip(columns, scale, strict=True)]
    )
    every, need = np.concatenate(columns), np.concatenate(parts)
    for k, name in enumerate(cluster.device_classes):
        room = (float(question.fleet.count[k]), float(cluster.hosts_of(name)), float(cluster.hosts_of(name)))
        for kind in range(3 if counts_interfaces else 1):
            used = np.flatnonzero(need[:, kind, k])
            rows.row([(int(every[t]), float(need[t, kind, k])) for t in used], upper=room[kind])
    return float(run(rows).objective)


if __name__ == "__main__":
    main()
