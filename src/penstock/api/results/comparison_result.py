"""Planners and policies side by side, each at its own best margin."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.api.trials import any_rate, check_requests, check_share
from penstock.errors import BadInputError, PenstockError
from penstock.plan.hold.closed_loop import expected_rates, held_candidates
from penstock.progress import CancelledError, task
from penstock.report.contest import contest_document, summary
from penstock.schedule.rule_numbers import RULES
from penstock.simulate.judge.contest import Contest, Rules, contest
from penstock.simulate.judge.run_lengths import FINAL_RUNS, MIDDLE_RUNS
from penstock.simulate.judge.trial import WARM_UP_SHARE, Trial

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penstock.plan.documents.scenario import Scenario
    from penstock.profile.table import Profile

FINAL_SEED = 100
"""Seeds from here onwards are for the results. Tuning uses those from 0."""

TUNING_RUNS = 2


@dataclass(frozen=True)
class Comparison:
    """How systems are compared: ``planners`` with one margin for all models, each under every one of ``policies``.

    ``attainment``: the share of all arrived requests that must be met. ``seconds`` of arrivals in each of ``seeds``
    runs.
    """

    planners: tuple[str, ...]
    policies: tuple[str, ...]
    attainment: float
    arrivals: tuple[str, ...]
    seconds: float
    seeds: int
    noise: bool

    def rules(self, models: Sequence[str]) -> Rules:
        """The tuning and the final trials of ``models``. They differ in their seeds."""
        process = any_rate(self.arrivals, models)

        def trial(seeds: range) -> Callable[[str], Trial]:
            return lambda policy: Trial(process, policy, self.seconds, tuple(seeds), self.noise)

        return Rules(
            self.attainment,
            trial(range(TUNING_RUNS)),
            trial(range(FINAL_SEED, FINAL_SEED + self.seeds)),
            judges=(trial(range(MIDDLE_RUNS)), trial(range(FINAL_RUNS))),
        )


@dataclass(frozen=True, repr=False)
class ComparisonResult(Shown):
    """What every system holds on each scenario. ``skipped``: scenarios that could not be compared, and why."""

    comparison: Comparison
    scenarios: tuple[dict[str, Any], ...]
    summary: tuple[dict[str, Any], ...]
    skipped: Mapping[str, str]
    warnings: tuple[str, ...] = ()

    def parts(self) -> list[Part]:
        """One table a scenario, then the means over all."""
        found: list[Part] = []
        columns = [
            "system",
            "margin",
            "goodput",
            "ratio",
            "of fluid",
            "of bound",
            "load factors",
            "95% intervals",
        ]
        for one in self.scenarios:
            rows = [
                [
                    system["name"],
                    "per model" if system["margin"] is None else f"{system['margin']:.0%}",
                    f"{system['goodput_rps']:.1f}",
                    f"{system['ratio']:.3f}",
                    f"{system['share_of_fluid']:.3f}",
                    f"{system['share_of_bound']:.3f}",
                    ", ".join(f"{model['load_factor']:.2f}" for model in system["models"]),
                    # One run has no interval.
                    ", ".join(
                        f"{model['low_rps']:.0f}-{model['high_rps']:.0f}"
                        if self.comparison.seeds > 1
                        else "-"
                        for model in system["models"]
                    ),
                ]
                for system in one["systems"]
            ]
            found.append(table(one["scenario"], columns, rows))
        columns = ["system", "geometric mean", "mean of ratios", "ratio of means", "of fluid", "of bound"]
        rows = [[row["name"], *(f"{row[key]:.3f}" for key in list(row)[1:])] for row in self.summary]
        found.append(table("All scenarios, relative to the published system", columns, rows))
        return [*found, *(f"skipped     {name}: {reason}" for name, reason in self.skipped.items())]

    def document(self) -> dict[str, Any]:
        """What ``report --figures`` draws."""
        return {
            "attainment": self.comparison.attainment,
            "arrivals": ", ".join(self.comparison.arrivals),
            "scenarios": list(self.scenarios),
            "summary": list(self.summary),
            "skipped": dict(self.skipped),
        }

    def records(self) -> list[dict[str, Any]]:
        """One row a scenario and system."""
        keys = (
            "name",
            "planner",
            "policy",
            "margin",
            "goodput_rps",
            "ratio",
            "share_of_fluid",
            "share_of_bound",
        )
        return [
            {"scenario": one["scenario"], **{key: system[key] for key in keys}}
            for one in self.scenarios
            for system in one["systems"]
        ]

    def plot(self) -> Figure:
        """The goodput of every system relative to the published one."""
        from penstock.api.showing.pictures import bars

        rows = self.records()
        names = [f"{row['scenario']}: {row['name']}" for row in rows]
        return bars(names, [row["ratio"] for row in rows], "goodput, published system = 1")


Asked = Sequence[tuple[str, "Scenario", "Mapping[str, Profile]"]]
"""Scenarios with their names and profiles."""


def compare_scenarios(asked: Asked, how: Comparison) -> ComparisonResult:
    """Compare on every scenario. One that cannot be compared is skipped, with the reason in the result.

    :class:`BadInputError` if none can, or if an option is wrong; that is checked before any work.
    """
    check_share("--attainment", how.attainment)
    rules = {name: how.rules([model.name for model in scenario.models]) for name, scenario, _ in asked}
    skipped = {}
    for name, scenario, profiles in asked:
        if reason := _unfit(scenario, profiles, how):
            skipped[name] = reason
    found: dict[str, Contest] = {}
    documents = []
    baselines = [(planner, policy) for planner in how.planners for policy in how.policies]
    closed_loop = [policy for policy in how.policies if policy in RULES]
    with task("comparing", len(asked) - len(skipped)) as step:
        for name, scenario, profiles in asked:
            if name in skipped:
                continue
            step(len(found), f"comparing on {name}")
            try:
                one = contest(scenario, profiles, rules[name], baselines=baselines, closed_loop=closed_loop)
            except CancelledError:
                raise
            except PenstockError as error:
                skipped[name] = str(error)
                continue
            found[name] = one
            documents.append({"scenario": name, **contest_document(one, profiles, rules[name])})
    if not found:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in skipped.items())
        raise BadInputError(f"no scenario can be compared. {reasons}")
    return ComparisonResult(how, tuple(documents), tuple(summary(list(found.values()))), skipped)


def _unfit(scenario: Scenario, profiles: Mapping[str, Profile], how: Comparison) -> str:
    """Why ``scenario`` cannot be compared; empty if it can."""
    if scenario.planner.pays_for_devices:
        return (
            f"planner.objective is {scenario.planner.objective}, but systems are compared by the rate that they hold. "
            f"Use objective throughput."
        )
    try:
        # An upper bound of the rates: if it brings too few requests, every plan does.
        rates_rps = expected_rates(scenario, held_candidates(scenario, profiles))
        by_model = {model.name: rate for model, rate in zip(scenario.models, rates_rps, strict=True)}
        check_requests(how.attainment, by_model, how.seconds * (1 - WARM_UP_SHARE) * how.seeds)
    except PenstockError as error:
        return str(error)
    return ""
