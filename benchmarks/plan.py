"""Planning: objective against the reference's, proven gap, seconds and memory, for every imported scenario.

Needs the reference data at ``../shared/data/ppipe-artifact`` from the repository's root (or a folder named
as the first argument). The reference's own objective and solver time stand beside ours.

``--share-devices`` lets stages and models share devices, which the reference's rule forbids.

    python benchmarks/plan.py [ARTIFACT] [--repeats 5] [--time-limit 20] [--share-devices]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.planners import PLANNERS
from penstock.plan.ppipe import read_plans
from penstock.plan.scenario import Scenario
from penstock.profile.ppipe import read_profiles
from penstock.profile.table import Profile
from penstock.result import Result

ARTIFACT = Path(__file__).resolve().parents[2] / "shared" / "data" / "ppipe-artifact"
REFERENCE_SUFFIX = {"penstock": "ppipe", "np": "np"}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("artifact", nargs="?", type=Path, default=ARTIFACT)
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--time-limit", type=float, default=20.0)
    arguments.add_argument("--share-devices", action="store_true")
    given = arguments.parse_args()
    if not given.artifact.is_dir():
        print(f"{given.artifact}: no reference data, nothing to measure.")
        return
    profiles = read_profiles(given.artifact)
    imported = read_plans(given.artifact, profiles)
    limits = SearchLimits(time_limit_s=given.time_limit)
    for planner in PLANNERS:
        print(f"\nplanner {planner}, median of {given.repeats} runs")
        print(
            f"{'scenario':48} {'objective':>10} {'reference':>10} {'ratio':>8} {'gap':>8} {'s':>7} {'ref. s':>8}"
        )
        for name, scenario in imported.scenarios.items():
            reference = imported.plans.get(f"{name}-{REFERENCE_SUFFIX[planner]}")
            asked = scenario.planner.model_copy(update={"share_devices": given.share_devices})
            asked_scenario = scenario.model_copy(update={"planner": asked})
            result, seconds = measured(planner, limits, asked_scenario, profiles, given.repeats)
            print(row(name, scenario, result, seconds, reference), flush=True)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
        2**20 if sys.platform == "darwin" else 2**10
    )
    print(f"\npeak memory {peak_mb:.0f} MB")


def measured(
    planner: str, limits: SearchLimits, scenario: Scenario, profiles: Mapping[str, Profile], repeats: int
) -> tuple[Result[Plan], float]:
    """A plan, and the median of the seconds that planning took. Runs that fill the limit are not repeated."""
    took: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = PLANNERS[planner](limits).plan(scenario, profiles)
        took.append(time.perf_counter() - start)
        if took[-1] > limits.time_limit_s:
            break
    return result, statistics.median(took)


def row(name: str, scenario: Scenario, result: Result[Plan], seconds: float, reference: Plan | None) -> str:
    classes = "+".join(scenario.cluster.device_classes)
    short = f"{name[:38]} {classes}"
    if reference is None:
        return f"{short:48} {result.objective:10.3f} {'-':>10} {'-':>8} {result.gap:8.1e} {seconds:7.3f} {'-':>8}"
    recorded = float(reference.stats["reference_objective"])
    runtime = float(reference.stats.get("runtime", "nan"))
    return (
        f"{short:48} {result.objective:10.3f} {recorded:10.3f} {result.objective / recorded:8.5f} "
        f"{result.gap:8.1e} {seconds:7.3f} {runtime:8.1f}"
    )


if __name__ == "__main__":
    main()
