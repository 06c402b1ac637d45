"""Split stages: what it is worth that each stage may divide a batch among several workers.

First the bound of the relaxation, without queueing: how much it grows with split stages, for several margins. Then
simulated goodput at 99%: the closed loop with and without split stages, measured on sixteen fresh runs (Poisson
arrivals, policy ``penstock``). The first plan with split stages is also run by a simulator that was written for this
question alone (``rebatch_parts/split_simulator.py``): its counts must equal the product's, to the last request.

Needs the reference data at ``../shared/data`` from the repository's root (or a folder named as the first argument).

    python benchmarks/rebatch.py [DATA] [--cases 0,5,10] [--bounds-only | --no-bounds | --check-only]
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from penstock.plan.documents.plan import Plan, has_split_stages
from penstock.plan.documents.scenario import Scenario
from penstock.plan.exact.worker_program import relax
from penstock.plan.hold.closed_loop import search_to_hold
from penstock.plan.hold.depth_search import Measured
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.templates.dominance import fractional_undominated
from penstock.plan.templates.table import LatencyBudget, join
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.profile.table import Profile
from penstock.simulate.judge.evaluate import evaluate
from penstock.simulate.judge.run_lengths import Judging, judging
from penstock.simulate.judge.trial import Trial
from penstock.traffic.spec import parse_arrivals
from penstock.units import US_PER_S
from rebatch_parts.split_check import check

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MARGINS = (0.0, 0.1, 0.2, 0.4)
MOST_PIECES = 8
ESTIMATE_ROUNDS = 3
TARGET = 0.99


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("data", nargs="?", type=Path, default=DATA)
    arguments.add_argument("--cases", default="", help="indices of scenarios, all by default")
    arguments.add_argument("--bounds-only", action="store_true", help="without simulation")
    arguments.add_argument("--no-bounds", action="store_true", help="only simulation")
    arguments.add_argument("--check-only", action="store_true", help="only that the simulators agree")
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
    if not (given.no_bounds or given.check_only):
        print_bounds(groups, imported.scenarios, profiles)
    if given.bounds_only:
        return
    names = groups["maf19-"]
    cases = [names[int(k)] for k in given.cases.split(",")] if given.cases else names
    if given.check_only:
        for name in cases:
            print(label(name.removeprefix("maf19-"), imported.scenarios[name]), flush=True)
            rates = [model.rate_rps for model in imported.plans[f"{name}-ppipe"].models]
            how = judging(Trial(parse_arrivals("poisson"), "penstock"), rates)
            best_plan(imported.scenarios[name], profiles, True, how, only_check=True)
        return
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
        own, split = (bound_rps(scenario, profiles, pieces, margin) for pieces in (1, MOST_PIECES))
        gains.append(split / own - 1)
    print(f"{label(name, scenario):45}" + "".join(f"{gain:14.2%}" for gain in gains), flush=True)
    return gains


def bound_rps(scenario: Scenario, profiles: Mapping[str, Profile], pieces: int, margin: float) -> float:
    """The relaxation's bound. Batches gather at its own rate."""
    asked = scenario.with_planner(max_stages=2, batch_build_factor=1.0, split_stages=pieces)
    question = PlanningQuestion(asked, profiles)
    bound = math.inf
    for _ in range(ESTIMATE_ROUNDS):
        templates = join(
            [
                question.templates(
                    m,
                    LatencyBudget(model.latency_slo_us * (1 - margin), US_PER_S / (bound * model.weight)),
                )
                for m, model in enumerate(scenario.models)
            ]
        )
        bound = relax(templates.take(fractional_undominated(templates)), question.fleet).bound
    return bound


def goodputs(name: str, scenario: Scenario, profiles: Mapping[str, Profile], how: Judging) -> float:
    """Print one row, and return the ratio of what both hold."""
    results = []
    for split in (False, True):
        began = time.process_time()
        plan = best_plan(scenario, profiles, split, how)
        found = evaluate(plan, profiles, how.fresh, target=TARGET, tolerance=0.005)
        spread = max((one.high_rps - one.low_rps) / 2 / one.held_rps for one in found.models)
        goodput_rps = found.goodput([model.weight for model in scenario.models])
        results.append((goodput_rps, spread, split_share(plan), time.process_time() - began))
    (own, own_spread, _, own_s), (split_rps, spread, share, split_s) = results
    ratio = split_rps / own
    print(
        f"{name:24}{own:12.0f}{split_rps:10.0f}{ratio:10.4f} +-{math.hypot(own_spread, spread):.4f}{share:12.2f}"
        f"{own_s:6.0f}{split_s:6.0f}",
        flush=True,
    )
    return ratio


def best_plan(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    split: bool,
    how: Judging,
    *,
    only_check: bool = False,
) -> Plan:
    """The plan of the closed loop. The simulators are compared on its first one with split stages.

    ``only_check``: that plan, nothing else.
    """
    asked = scenario.with_planner(fill=False, split_stages=MOST_PIECES if split else 1)
    checked: list[Plan] = []

    def watch(measured: Measured) -> None:
        plan = measured.plan
        if checked or not has_split_stages(plan) or plan.shared_pools:
            return
        missed, arrived = check(plan, profiles, how.search)
        checked.append(plan)
        if only_check:
            print(f"  both simulators miss {missed} of {arrived} requests, {split_share(plan):.2f} split")

    best = search_to_hold(
        asked,
        profiles,
        evaluate=lambda plan: evaluate(plan, profiles, how.search, target=TARGET, tolerance=0.01),
        paths=how.search.paths,
        target=TARGET,
        judges=[
            lambda plan, near, trial=trial: evaluate(
                plan, profiles, trial, target=TARGET, tolerance=0.005, near=near
            )
            for trial in ((how.middle, how.last) if not only_check else ())
        ],
        watch=watch,
    )
    if only_check and not checked:
        raise SystemExit("no plan has split stages.")
    return checked[0] if only_check else best.plan


def split_share(plan: Plan) -> float:
    """The part of the rate that pipelines with split stages carry."""
    pipelines = [pipeline for model in plan.models for pipeline in model.pipelines]
    split = sum(p.rate_rps for p in pipelines if any(stage.pieces > 1 for stage in p.stages))
    return split / sum(p.rate_rps for p in pipelines)


if __name__ == "__main__":
    main()
