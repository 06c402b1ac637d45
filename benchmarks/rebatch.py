"""Batching anew between stages: what a batch of its own for each stage would be worth.

First the bound of the relaxation, without queueing: how much it grows if a batch may be split at a stage and gathered
again at the next (``rebatch_parts/split_templates.py``), for several margins. Then simulated goodput at 99%: eight
choices of margin, weight of slack and stages that the closed loop begins with, each planned with and without split
stages. The three best of both are judged again on six runs, and the best of these is measured on sixteen others
(Poisson arrivals, policy ``penstock``). The space with split stages holds the other one, so its judge may choose a plan
without any.

Needs the reference data at ``../shared/data`` from the repository's root (or a folder named as the first argument).

    python benchmarks/rebatch.py [DATA] [--cases 0,5,10] [--bounds-only | --no-bounds]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from penstock.errors import InfeasibleError
from penstock.plan.documents.scenario import Scenario
from penstock.plan.hold.choice_search import GRID
from penstock.plan.interfaces import SearchLimits
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.profile.table import Profile
from penstock.simulate.judge.run_lengths import Judging, judging
from penstock.simulate.judge.sweep import Held
from penstock.simulate.judge.trial import Trial
from penstock.traffic.spec import parse_arrivals
from rebatch_parts.split_plans import SplitPlan, SplitSpace, SplitTrial, held

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MARGINS = (0.0, 0.1, 0.2, 0.4)
MOST_PIECES = 8
CHOICES = [one for one in GRID if one.stages > 1]
LIMITS = SearchLimits(gap=2e-3, time_limit_s=4.0)
KEPT = 3


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", nargs="?", type=Path, default=DATA)
    arguments.add_argument("--cases", default="", help="indices of scenarios, all by default")
    arguments.add_argument("--bounds-only", action="store_true", help="without simulation")
    arguments.add_argument("--no-bounds", action="store_true", help="only simulation")
    given = arguments.parse_args()
    artifact = given.data / "ppipe-artifact"
    if not artifact.is_dir():
        print(f"{artifact}: no reference data, nothing to measure.")
        return
    profiles = read_profiles(artifact)
    imported = read_plans(artifact, profiles)
    groups = {
        prefix: [name for name in imported.scenarios if name.startswith(prefix)]
        for prefix in ("maf19-", "ablation-")
    }
    if not given.no_bounds:
        print_bounds(groups, imported.scenarios, profiles)
    if given.bounds_only:
        return
    names = groups["maf19-"]
    cases = [names[int(k)] for k in given.cases.split(",")] if given.cases else names
    print(
        f"\n{'goodput at 99%':24}{'one batch':>12}{'split':>10}{'ratio':>18}{'rate split':>12}{'cpu s':>12}"
    )
    ratios = []
    for name in cases:
        rates = [model.rate_rps for model in imported.plans[f"{name}-ppipe"].models]
        how = judging(Trial(parse_arrivals("poisson"), "penstock"), rates)
        ratios.append(
            goodputs(
                label(name.removeprefix("maf19-"), imported.scenarios[name]),
                imported.scenarios[name],
                profiles,
                how,
            )
        )
    print(
        f"geometric mean of {len(ratios)}: {statistics.geometric_mean(ratios):.4f}, "
        f"median {statistics.median(ratios):.4f}"
    )


def print_bounds(
    groups: Mapping[str, Sequence[str]], scenarios: Mapping[str, Scenario], profiles: Mapping[str, Profile]
) -> None:
    """A table for each group of scenarios."""
    print(
        "bound of the relaxation, gain by split stages" + "".join(f"{f'margin {m:g}':>14}" for m in MARGINS)
    )
    for prefix, names in groups.items():
        gains = [bounds(name.removeprefix(prefix), scenarios[name], profiles) for name in names]
        print(f"{'mean':45}" + "".join(f"{mean:14.2%}" for mean in np.mean(gains, axis=0)))
        print(f"{'median':45}" + "".join(f"{middle:14.2%}" for middle in np.median(gains, axis=0)))


def label(name: str, scenario: Scenario) -> str:
    return f"{name[:12]} {'+'.join(scenario.cluster.device_classes)}"


def bounds(name: str, scenario: Scenario, profiles: Mapping[str, Profile]) -> list[float]:
    """Print and return the gains by margin, of pipelines of up to two stages."""
    gains = []
    for margin in MARGINS:
        own, split = (
            SplitSpace(scenario, profiles, pieces=pieces, stages=2, margin=margin).bound_rps
            for pieces in (1, MOST_PIECES)
        )
        gains.append(split / own - 1)
    print(f"{label(name, scenario):45}" + "".join(f"{gain:14.2%}" for gain in gains), flush=True)
    return gains


def goodputs(name: str, scenario: Scenario, profiles: Mapping[str, Profile], how: Judging) -> float:
    """Print one row, and return the ratio of what both hold."""
    results = []
    for pieces in (1, MOST_PIECES):
        began = time.process_time()
        plan = best_plan(SplitSpace(scenario, profiles, pieces=pieces, stages=3), how)
        found = held(plan, how.fresh, 0.005)
        spread = max((one.high_rps - one.low_rps) / 2 / one.rate_rps for one in found)
        results.append((goodput(found, plan.weights), spread, plan.split, time.process_time() - began))
    (own, own_spread, _, own_s), (split, spread, share, split_s) = results
    ratio = split / own
    print(
        f"{name:24}{own:12.0f}{split:10.0f}{ratio:10.4f} +-{math.hypot(own_spread, spread):.4f}{share:12.2f}"
        f"{own_s:6.0f}{split_s:6.0f}",
        flush=True,
    )
    return ratio


def best_plan(space: SplitSpace, how: Judging) -> SplitPlan:
    """The plan that holds most by the judge of six runs, of the three best by the search's."""
    tried: list[tuple[float, SplitPlan, Sequence[Held]]] = []
    for choice in CHOICES:
        try:
            plan = space.plan(choice, LIMITS)
        except InfeasibleError:
            continue
        if not tried:
            check(plan, how.search)
        found = held(plan, how.search, 0.01)
        tried.append((goodput(found, plan.weights), plan, found))
    tried.sort(key=lambda one: -one[0])
    judged = [
        (goodput(held(plan, how.middle, 0.005, near), plan.weights), plan) for _, plan, near in tried[:KEPT]
    ]
    return max(judged, key=lambda one: one[0])[1]


def goodput(found: Sequence[Held], weights: Sequence[float]) -> float:
    return min(one.rate_rps / weight for one, weight in zip(found, weights, strict=True))


def check(plan: SplitPlan, trial: Trial) -> None:
    """Without split stages the simulator of this script counts what the product's counts."""
    if plan.split:
        return
    one = replace(trial, seeds=trial.seeds[:1])
    rates = [0.97 * model.rate_rps for model in plan.plan.models]
    ours, theirs = SplitTrial(one, plan.table), one
    for mine, other in zip(
        ours.counts(plan.product_table, rates), theirs.counts(plan.product_table, rates), strict=True
    ):
        if (mine != other).any():
            raise SystemExit(f"the simulators differ: {mine.tolist()} and {other.tolist()}.")


if __name__ == "__main__":
    main()
