"""Goodput at 99%: the closed loop against the published plan and every baseline at its own best margin.

The figure that decides: least over models of rate / weight that holds 99%, same profiles, same simulator,
on the 16 scenarios of set maf19, for Poisson, gamma (CV 4) and the Azure code trace superposed. Every result
is kept in the cache folder, so a run that was stopped goes on where it was; ``penstock report CACHE/poisson.json
--figures DIR`` draws it.

Needs the reference data at ``../shared/data`` from the repository's root (or a folder named as the first argument).

    python benchmarks/goodput.py [DATA] [--cache DIR] [--cases 0,5,10] [--arrivals poisson,gamma:cv=4,azure]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from penstock.plan.plan import Plan
from penstock.plan.ppipe import read_plans
from penstock.plan.scenario import Scenario
from penstock.profile.ppipe import read_profiles
from penstock.profile.table import Profile
from penstock.report.contest import contest_document
from penstock.simulate.contest import CLOSED_LOOP, Rules, contest
from penstock.simulate.simulator import POLICIES
from penstock.simulate.trial import Trial
from penstock.traffic.spec import parse_arrivals

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BASELINES = (("penstock", "reservation"), ("np", "reservation"), ("dart-r", "reservation"))
TARGET = 0.99
AIMS = "published: >= 1.25 (aim 1.35); best baseline: >= 1.05 (aim 1.15)"
OURS = "penstock" if "penstock" in POLICIES else "reservation"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", nargs="?", type=Path, default=DATA)
    arguments.add_argument("--cache", type=Path, default=Path("goodput-cache"))
    arguments.add_argument("--cases", default="", help="indices of scenarios, all by default")
    arguments.add_argument("--arrivals", default="poisson", help="any of poisson, gamma:cv=4, azure")
    arguments.add_argument("--policy", default=OURS, help="of the closed loop")
    arguments.add_argument("--seconds", type=float, default=20.0)
    given = arguments.parse_args()
    artifact = given.data / "ppipe-artifact"
    if not artifact.is_dir():
        print(f"{artifact}: no reference data, nothing to measure.")
        return
    given.cache.mkdir(parents=True, exist_ok=True)
    profiles = read_profiles(artifact)
    imported = read_plans(artifact, profiles)
    names = [name for name in imported.scenarios if name.startswith("maf19-")]
    cases = [names[int(k)] for k in given.cases.split(",")] if given.cases else names
    for arrivals in given.arrivals.split(","):
        rows = []
        for name in cases:
            scenario, label = imported.scenarios[name], short(name, imported.scenarios[name])
            stem = f"{label}-{arrivals}-{given.policy}-{given.seconds:g}".replace(":", "_")
            make = partial(measured, scenario, profiles, imported.plans[f"{name}-ppipe"], arrivals, given)
            rows.append(cached(given.cache / f"{stem}.json", make, label))
        table(arrivals, rows)
        document = {"attainment": TARGET, "arrivals": arrivals, "scenarios": rows}
        (given.cache / f"{arrivals}.json".replace(":", "_")).write_text(json.dumps(document))


def short(name: str, scenario: Scenario) -> str:
    return f"{name.removeprefix('maf19-')[:12]}-{'+'.join(scenario.cluster.device_classes)}"


def cached(path: Path, make: Any, name: str) -> dict[str, Any]:
    if not path.exists():
        begin = time.process_time()
        document = {"scenario": name, **make(), "cpu_seconds": time.process_time() - begin}
        path.write_text(json.dumps(document, indent=1))
    return json.loads(path.read_text())


def measured(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    published: Plan,
    arrivals: str,
    given: argparse.Namespace,
) -> dict[str, Any]:
    trace = given.data / "traces" / "azure_llm_2023" / "AzureLLMInferenceTrace_code.csv"
    process = parse_arrivals(f"trace:{trace},scale=superpose" if arrivals == "azure" else arrivals)

    def trial(seeds: tuple[int, ...], policy: str) -> Trial:
        return Trial(process, policy, given.seconds, seeds)

    rules = Rules(TARGET, partial(trial, (0, 1)), partial(trial, (100, 101, 102, 103)))
    found = contest(
        scenario, profiles, rules, baselines=BASELINES, closed_loop=(given.policy,), published=published
    )
    return contest_document(found, profiles, rules)


def table(arrivals: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """One row a scenario: ratios to the published system, to the best baseline, and the share of the fluid bound."""
    print(f"\n{arrivals}: goodput at 99%, ratio to the published system (margin, least load factor)")
    columns = [f"{name} ({system['policy'][:4]})" for name, system in by_planner(rows[0]).items()]
    print(
        f"{'scenario':20}"
        + "".join(f"{name:>24}" for name in columns)
        + f"{'/ best':>8}{'/ fluid':>8}{'cpu s':>7}"
    )
    gains, shares = [], []
    for row in rows:
        systems = by_planner(row)
        ours = systems[CLOSED_LOOP]
        gains.append(
            ours["ratio"] / max(one["ratio"] for name, one in systems.items() if name != CLOSED_LOOP)
        )
        shares.append(ours["share_of_fluid"])
        cells = "".join(f"{cell(system):>24}" for system in systems.values())
        print(f"{row['scenario']:20}{cells}{gains[-1]:8.3f}{shares[-1]:8.3f}{row['cpu_seconds']:7.0f}")
    means = [
        statistics.geometric_mean(by_planner(row)[name]["ratio"] for row in rows)
        for name in by_planner(rows[0])
    ]
    print(
        f"{'geometric mean':20}"
        + "".join(f"{mean:24.3f}" for mean in means)
        + f"{statistics.geometric_mean(gains):8.3f}{statistics.geometric_mean(shares):8.3f}"
    )
    print(f"aims: {AIMS}")


def by_planner(row: Mapping[str, Any]) -> dict[str, Any]:
    return {system["planner"]: system for system in row["systems"]}


def cell(system: Mapping[str, Any]) -> str:
    margin = "own" if system["margin"] is None else system["margin"]
    return f"{system['ratio']:.3f} ({margin}, {min(one['load_factor'] for one in system['models']):.2f})"


if __name__ == "__main__":
    main()
