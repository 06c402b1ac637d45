"""Planning: objective against the reference's, proven gap, seconds and memory, for every imported scenario.

Needs the reference data at ``../shared/data/ppipe-artifact`` from the repository's root (or a folder named
as the first argument). The reference's own objective and solver time stand beside ours, and below each
table what is asked of the planner, with the worst case.

    python benchmarks/plan.py [ARTIFACT] [--planner np --planner dart-r] [--cases L4-T4] [--repeats 5]
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.by_name import PLANNERS
from penstock.ppipe.plans import Imported, read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.profile.table import Profile
from penstock.result import Result

ARTIFACT = Path(__file__).resolve().parents[2] / "shared" / "data" / "ppipe-artifact"
REFERENCE = {"penstock": "ppipe", "np": "np", "dart-r": "dart-r"}
LEAST_RATIO = {"penstock": 1 - 1e-4, "np": 1 - 1e-4, "dart-r": 0.98}
MOST_RATIO = {"dart-r": 1.02}  # a rule that is followed gives no more either
PROVEN = ("penstock", "np")  # the others follow a rule: their bound is that of the device time, and loose
MOST_GAP = 1e-3
MOST_SECONDS = {2: 2.0, 3: 5.0}


@dataclass(frozen=True)
class Case:
    """One scenario planned: ``seconds`` the median, ``reference`` the published plan where there is one."""

    name: str
    scenario: Scenario
    result: Result[Plan]
    seconds: float
    reference: Plan | None

    @property
    def stages(self) -> int:
        """How many stages a pipeline may have."""
        return self.scenario.planner.max_stages

    @property
    def recorded(self) -> float | None:
        """The published objective."""
        return None if self.reference is None else float(self.reference.stats["reference_objective"])

    @property
    def ratio(self) -> float | None:
        """Our objective over the published one."""
        return None if self.recorded is None else self.result.objective / self.recorded

    @property
    def recorded_seconds(self) -> float:
        """The published solver's time; 0 where none is recorded."""
        return 0.0 if self.reference is None else float(self.reference.stats.get("runtime", 0.0))


def main() -> None:
    given = arguments()
    if not given.artifact.is_dir():
        print(f"{given.artifact}: no reference data, nothing to measure.")
        return
    profiles = read_profiles(given.artifact)
    imported = read_plans(given.artifact, profiles)
    if given.share_devices:
        imported = replace(imported, scenarios={n: sharing(s) for n, s in imported.scenarios.items()})
    names = [name for name in imported.scenarios if all(part in name for part in given.cases)]
    print(
        f"{len(names)} of {len(imported.scenarios)} scenarios; peak memory with profiles: {peak_mb():.0f} MB"
    )
    limits = SearchLimits(time_limit_s=given.time_limit)
    for planner in given.planner or REFERENCE:
        print(f"\nplanner {planner}, median of {given.repeats} runs")
        print(header())
        cases = []
        for name in names:
            cases.append(measured(planner, limits, name, imported, profiles, given.repeats))
            print(row(cases[-1]), flush=True)
        for line in summary(planner, cases):
            print(line)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifact", nargs="?", type=Path, default=ARTIFACT)
    parser.add_argument(
        "--planner", action="append", choices=list(PLANNERS), help="default: all with references"
    )
    parser.add_argument(
        "--cases", action="append", default=[], metavar="TEXT", help="only names that hold it"
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--time-limit", type=float, default=20.0)
    parser.add_argument(
        "--share-devices",
        action="store_true",
        help="let stages and models share a device: not the reference's rule",
    )
    return parser.parse_args()


def sharing(scenario: Scenario) -> Scenario:
    planner = scenario.planner.model_copy(update={"share_devices": True})
    return scenario.model_copy(update={"planner": planner})


def measured(
    planner: str,
    limits: SearchLimits,
    name: str,
    imported: Imported,
    profiles: Mapping[str, Profile],
    repeats: int,
) -> Case:
    """One case. Runs that fill the time limit are not repeated."""
    scenario = imported.scenarios[name]
    took: list[float] = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = PLANNERS[planner](limits).plan(scenario, profiles)
        took.append(time.perf_counter() - start)
        if took[-1] > limits.time_limit_s:
            break
    reference = imported.plans.get(f"{name}-{REFERENCE.get(planner)}")
    return Case(name, scenario, result, statistics.median(took), reference)


def header() -> str:
    columns = ["objective", "reference", "ratio", "gap", "s", "ref. s", "peak MB"]
    return f"{'scenario':44}" + "".join(f"{column:>11}" for column in columns)


def row(case: Case) -> str:
    short = f"{case.name[:34]} {'+'.join(case.scenario.cluster.device_classes)}"
    recorded = "-" if case.recorded is None else f"{case.recorded:.3f}"
    ratio = "-" if case.ratio is None else f"{case.ratio:.5f}"
    seconds = f"{case.recorded_seconds:.1f}" if case.recorded_seconds else "-"
    return (
        f"{short:44}{case.result.objective:11.3f}{recorded:>11}{ratio:>11}{case.result.gap:11.1e}"
        f"{case.seconds:11.3f}{seconds:>11}{peak_mb():11.0f}"
    )


def summary(planner: str, cases: Sequence[Case]) -> Iterator[str]:
    """A line for each figure asked, by number of stages; planners without a reference only show theirs."""
    by_stages = sorted(cases, key=lambda case: case.stages)
    for stages, group in groupby(by_stages, key=lambda case: case.stages):
        same = list(group)
        where = f"{planner}, {stages} stages, {len(same)} cases:"
        ratios = [case.ratio for case in same if case.ratio is not None]
        if ratios:
            least = LEAST_RATIO[planner]
            yield line(where, "least objective / reference", min(ratios), ">=", least, min(ratios) >= least)
        if ratios and planner in MOST_RATIO:
            most = MOST_RATIO[planner]
            yield line(where, "greatest objective / reference", max(ratios), "<=", most, max(ratios) <= most)
        if planner in PROVEN:
            gap = max(case.result.gap for case in same)
            yield line(where, "greatest gap", gap, "<=", MOST_GAP, gap <= MOST_GAP)
        seconds, limit = max(case.seconds for case in same), MOST_SECONDS.get(stages)
        if limit is not None:
            yield line(where, "greatest seconds", seconds, "<=", limit, seconds <= limit)
        ours, theirs = sum(case.seconds for case in same), sum(case.recorded_seconds for case in same)
        yield f"{where} {ours:.1f} s in all" + (f", the reference's solver {theirs:.1f} s" if theirs else "")
    yield f"{planner}: peak memory {peak_mb():.0f} MB"


def line(where: str, what: str, figure: float, sign: str, asked: float, holds: bool) -> str:
    return f"{where} {what} {figure:.6g} (asked {sign} {asked:g}): {'holds' if holds else 'MISSED'}"


def peak_mb() -> float:
    """The most memory that the process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


if __name__ == "__main__":
    main()
