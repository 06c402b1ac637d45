"""Compare planners and policies, each at its own best margin.

A planner that has one margin for all models is tried with every margin of a list, and keeps the one whose plan holds
the most, as its authors would do. The closed loop chooses margins by itself. All of them are tuned with other seeds
than those of the figures that are compared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from penstock.errors import InfeasibleError
from penstock.plan.documents.margin import DEFAULT_MARGIN
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.hold.closed_loop import held_candidates, search_to_hold
from penstock.plan.interfaces import Judge, Score, SearchLimits
from penstock.plan.planners.by_name import PLANNERS
from penstock.profile.table import Profile
from penstock.simulate.judge.evaluate import evaluate
from penstock.simulate.judge.goodput_bound import GoodputBounds, goodput_bounds
from penstock.simulate.judge.trial import Trial

MARGINS = (0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.0)
KEPT = (3, 2)
"""How many margins of a baseline the first and each later judge get."""

CLOSED_LOOP = "closed-loop"
PUBLISHED = "published"
PUBLISHED_POLICY = "reservation"
LIMITS = SearchLimits(gap=1e-3, time_limit_s=1.5)


@dataclass(frozen=True)
class Entry:
    """One system on one scenario: its plan, the margin that it was tuned to (None: one for each model), what it
    holds."""

    planner: str
    policy: str
    margin: float | None
    plan: Plan
    score: Score
    goodput_rps: float

    @property
    def name(self) -> str:
        """Planner and policy."""
        return f"{self.planner} + {self.policy}"


@dataclass(frozen=True)
class Contest:
    """The result on one scenario: ``published`` is the reference.

    ``fluid_rps`` is an upper bound of every plan, ``bounds`` are those that count queueing, on the final arrivals.
    """

    published: Entry
    entries: tuple[Entry, ...]
    fluid_rps: float
    bounds: GoodputBounds

    def ratio(self, entry: Entry) -> float:
        """Goodput relative to the published plan's; infinite if that holds nothing."""
        held = self.published.goodput_rps
        return entry.goodput_rps / held if held else float("inf")


@dataclass(frozen=True)
class Rules:
    """Trials, made for the policy of each entry. ``tuning`` and ``judges`` share no seed with ``final``.

    ``judges``, from few runs to many, measure the best choices of the tuning again (successive elimination): those of
    every baseline as those of the closed loop.
    """

    target: float
    tuning: Callable[[str], Trial]
    final: Callable[[str], Trial]
    tolerance: float = 0.005
    judges: tuple[Callable[[str], Trial], ...] = ()

    def judged(self, number: int, policy: str, profiles: Mapping[str, Profile]) -> Judge:
        """The judge ``number`` for ``policy``."""
        trial = self.judges[number](policy)
        return lambda plan, near: evaluate(
            plan, profiles, trial, target=self.target, tolerance=self.tolerance, near=near
        )

    def tuned(self, plan: Plan, profiles: Mapping[str, Profile], policy: str) -> Score:
        """The score of ``plan`` with the tuning seeds."""
        return evaluate(plan, profiles, self.tuning(policy), target=self.target, tolerance=2 * self.tolerance)

    def entry(
        self, plan: Plan, profiles: Mapping[str, Profile], planner: str, policy: str, margin: float | None
    ) -> Entry:
        """``plan`` with what it holds on the final seeds."""
        score = evaluate(plan, profiles, self.final(policy), target=self.target, tolerance=self.tolerance)
        return Entry(planner, policy, margin, plan, score, score.goodput(_weights(plan.scenario)))


def contest(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    rules: Rules,
    *,
    baselines: Sequence[tuple[str, str]],
    closed_loop: Sequence[str],
    published: Plan | None = None,
) -> Contest:
    """Every (planner, policy) of ``baselines`` tuned, the closed loop under every policy of ``closed_loop``.

    ``published``: the reference's own plan, if there is one; else the exact plan with the published margin.
    """
    reference = published or _planned(scenario, profiles, "penstock", DEFAULT_MARGIN)
    if reference is None:
        raise InfeasibleError(
            f"no plan with the published margin of {DEFAULT_MARGIN:.0%} exists, so there is nothing to compare "
            f"with. Raise the SLOs."
        )
    entries = [tuned_entry(scenario, profiles, rules, planner, policy) for planner, policy in baselines]
    candidates = held_candidates(scenario, profiles)
    for policy in closed_loop:
        judge = partial(rules.tuned, profiles=profiles, policy=policy)
        judges = [rules.judged(number, policy, profiles) for number in range(len(rules.judges))]
        found = search_to_hold(
            scenario,
            profiles,
            evaluate=judge,
            paths=rules.tuning(policy).paths,
            target=rules.target,
            candidates=candidates,
            judges=judges,
        )
        entries.append(rules.entry(found.plan, profiles, CLOSED_LOOP, policy, None))
    first = rules.entry(reference, profiles, PUBLISHED, PUBLISHED_POLICY, DEFAULT_MARGIN)
    bounds = goodput_bounds(scenario, profiles, rules.final(PUBLISHED_POLICY), rules.target)
    return Contest(first, tuple(entry for entry in entries if entry is not None), candidates.bound, bounds)


def tuned_entry(
    scenario: Scenario, profiles: Mapping[str, Profile], rules: Rules, planner: str, policy: str
) -> Entry | None:
    """``planner`` at its best margin under ``policy``; None if it has no plan at any margin."""
    weights = _weights(scenario)
    tried: list[tuple[float, Plan, Score]] = []
    for margin in MARGINS:
        plan = _planned(scenario, profiles, planner, margin)
        if plan is None:
            continue
        tried.append((margin, plan, rules.tuned(plan, profiles, policy)))
    for number in range(len(rules.judges)):
        judge = rules.judged(number, policy, profiles)
        tried.sort(key=lambda one: one[2].goodput(weights), reverse=True)
        kept = tried[: KEPT[min(number, len(KEPT) - 1)]]
        tried = [(margin, plan, judge(plan, score)) for margin, plan, score in kept]
    if not tried:
        return None
    margin, plan, _ = max(tried, key=lambda one: one[2].goodput(weights))
    return rules.entry(plan, profiles, planner, policy, margin)


def _planned(scenario: Scenario, profiles: Mapping[str, Profile], planner: str, margin: float) -> Plan | None:
    """The plan in the published space (no shared devices) with one margin for all; None if there is none."""
    asked = scenario.with_models(lambda model: model.with_margin(margin)).with_planner(
        share_devices=False, fill=False
    )
    try:
        return PLANNERS[planner](LIMITS).plan(asked, profiles).solution
    except InfeasibleError:
        return None


def _weights(scenario: Scenario) -> list[float]:
    return [model.weight for model in scenario.models]
