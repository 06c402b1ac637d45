"""Goodput at 99%: the closed loop against the published plan and every baseline at its own best margin.

The figure that decides: least over models of rate / weight that holds 99%, same profiles, same simulator,
on the 16 scenarios of set maf19, for Poisson, gamma (CV 4) and the Azure code trace superposed. Every result
is kept in the cache folder, so a run that was stopped goes on where it was.

Needs the reference data at ``../shared/data`` from the repository's root (or a folder named as the first argument).

    python benchmarks/goodput.py [DATA] [--cache DIR] [--cases 0,5,10] [--arrivals poisson,gamma:cv=4,azure]
"""

from __future__ import annotations

import argparse
import json
import math
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
from penstock.simulate.contest import CLOSED_LOOP, Contest, Rules, contest
from penstock.simulate.simulator import POLICIES
from penstock.simulate.trial import Trial
from penstock.traffic.spec import parse_arrivals

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BASELINES = (("penstock", "reservation"), ("np", "reservation"), ("dart-r", "reservation"))
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
        rows = [
            cached(
                given.cache
                / f"{short(name, imported.scenarios[name])}-{arrivals}-{given.policy}-{given.seconds:g}.json".replace(
                    ":", "_"
                ),
                partial(
                    measured,
                    imported.scenarios[name],
                    profiles,
                    imported.plans[f"{name}-ppipe"],
                    arrivals,
                    given,
                ),
                short(name, imported.scenarios[name]),
            )
            for name in cases
        ]
        table(arrivals, rows)


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

    rules = Rules(0.99, partial(trial, (0, 1)), partial(trial, (100, 101, 102, 103)))
    found = contest(
        scenario, profiles, rules, baselines=BASELINES, closed_loop=(given.policy,), published=published
    )
    return document(found)


def document(found: Contest) -> dict[str, Any]:
    return {
        "fluid_rps": found.fluid_rps,
        "systems": {
            entry.name: {
                "planner": entry.planner,
                "margin": entry.margin,
                "goodput_rps": entry.goodput_rps,
                "ratio": found.ratio(entry),
                "load_factors": [
                    one.held_rps / model.rate_rps
                    for one, model in zip(entry.score.models, entry.plan.models, strict=True)
                ],
                "per_weight_rps": [
                    one.held_rps / model.weight
                    for one, model in zip(entry.score.models, entry.plan.scenario.models, strict=True)
                ],
            }
            for entry in (found.published, *found.entries)
        },
    }


def table(arrivals: str, rows: Sequence[Mapping[str, Any]]) -> None:
    systems = list(rows[0]["systems"])
    print(
        f"\n{arrivals}: goodput at 99%, ratio to the published plan and policy (its load factor in the first column)"
    )
    print(
        f"{'scenario':24}"
        + "".join(f"{name:>26}" for name in systems)
        + f"{'of best':>9}{'of fluid':>9}{'cpu s':>7}"
    )
    gains, shares, ratios = [], [], {name: [] for name in systems}
    for row in rows:
        held = {name: one["ratio"] for name, one in row["systems"].items()}
        ours = max(one["ratio"] for one in row["systems"].values() if one["planner"] == CLOSED_LOOP)
        best = max(one["ratio"] for one in row["systems"].values() if one["planner"] != CLOSED_LOOP)
        gains.append(ours / best)
        shares.append(
            max(one["goodput_rps"] for one in row["systems"].values() if one["planner"] == CLOSED_LOOP)
            / row["fluid_rps"]
        )
        for name in systems:
            ratios[name].append(held.get(name, math.nan))
        first = min(next(iter(row["systems"].values()))["load_factors"])
        cells = [f"{first:26.3f}"] + [
            f"{held[name]:14.3f} ({'-' if one['margin'] is None else one['margin']}, {min(one['load_factors']):.2f})".rjust(
                26
            )
            for name, one in list(row["systems"].items())[1:]
        ]
        print(
            f"{row['scenario']:24}"
            + "".join(cells)
            + f"{gains[-1]:9.3f}{shares[-1]:9.3f}{row['cpu_seconds']:7.0f}"
        )
    print(
        f"{'geometric mean':24}"
        + "".join(f"{statistics.geometric_mean(ratios[name]):26.3f}" for name in systems)
        + f"{statistics.geometric_mean(gains):9.3f}{statistics.geometric_mean(shares):9.3f}"
    )
    print(f"aims: {AIMS}")


if __name__ == "__main__":
    main()
