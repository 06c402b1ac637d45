"""Planners and policies against each other, each at its own best margin.

A planner of one margin for all models gets every margin of a list, and keeps the one whose plan holds most: as
its authors would tune it. The closed loop chooses by itself. Tuning sees other seeds than the figures that are
compared, for everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from penstock.errors import InfeasibleError
from penstock.plan.closed_loop.choices import Candidates
from penstock.plan.closed_loop.hold import search_to_hold
from penstock.plan.margin import DEFAULT_MARGIN
from penstock.plan.plan import Plan
from penstock.plan.planner import SearchLimits
from penstock.plan.planners import PLANNERS
from penstock.plan.scenario import Scenario
from penstock.plan.score import Score
from penstock.profile.table import Profile
from penstock.simulate.evaluate import evaluate
from penstock.simulate.trial import Trial

MARGINS = (0.4, 0.3, 0.2, 0.15, 0.1, 0.05, 0.0)
CLOSED_LOOP = "closed-loop"
PUBLISHED = "published"
PUBLISHED_POLICY = "reservation"
LIMITS = SearchLimits(gap=1e-3, time_limit_s=1.5)


@dataclass(frozen=True)
class Entry:
    """One system on one scenario: its plan, the margin it was tuned to (None: per model), what it holds."""

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
    """What happened on one scenario: ``published`` is the reference; ``fluid_rps`` bounds every plan."""

    published: Entry
    entries: tuple[Entry, ...]
    fluid_rps: float

    def ratio(self, entry: Entry) -> float:
        """Goodput relative to the published plan's; infinite where that holds nothing."""
        held = self.published.goodput_rps
        return entry.goodput_rps / held if held else float("inf")


@dataclass(frozen=True)
class Rules:
    """``tuning`` and ``final`` are trials alike but for their seeds; each entry's policy replaces theirs."""

    target: float
    tuning: Callable[[str], Trial]
    final: Callable[[str], Trial]
    tolerance: float = 0.005

    def tuned(self, plan: Plan, profiles: Mapping[str, Profile], policy: str) -> Score:
        """What the tuning seeds say of ``plan``."""
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

    ``published``: the reference's own plan, where there is one; else the exact plan with the published margin.
    """
    reference = published or _planned(scenario, profiles, "penstock", DEFAULT_MARGIN)
    if reference is None:
        raise InfeasibleError(
            f"no plan with the published margin of {DEFAULT_MARGIN:.0%} exists, so there is nothing to compare "
            f"with. Raise the SLOs."
        )
    entries = [tuned_entry(scenario, profiles, rules, planner, policy) for planner, policy in baselines]
    for policy in closed_loop:
        judge = partial(rules.tuned, profiles=profiles, policy=policy)
        found = search_to_hold(scenario, profiles, evaluate=judge)
        entries.append(rules.entry(found.planned.plan, profiles, CLOSED_LOOP, policy, None))
    fluid = Candidates(scenario, profiles, max(3, scenario.planner.max_stages)).prices.bound
    first = rules.entry(reference, profiles, PUBLISHED, PUBLISHED_POLICY, DEFAULT_MARGIN)
    return Contest(first, tuple(entry for entry in entries if entry is not None), fluid)


def tuned_entry(
    scenario: Scenario, profiles: Mapping[str, Profile], rules: Rules, planner: str, policy: str
) -> Entry | None:
    """``planner`` at its best margin under ``policy``; None where it has no plan at any margin."""
    weights = _weights(scenario)
    best: tuple[float, float, Plan] | None = None
    for margin in MARGINS:
        plan = _planned(scenario, profiles, planner, margin)
        if plan is None:
            continue
        held = rules.tuned(plan, profiles, policy).goodput(weights)
        if best is None or held > best[0]:
            best = held, margin, plan
    return None if best is None else rules.entry(best[2], profiles, planner, policy, best[1])


def _planned(scenario: Scenario, profiles: Mapping[str, Profile], planner: str, margin: float) -> Plan | None:
    """The plan in the published space (no shared devices) with one margin for all; None if there is none."""
    models = [m.model_copy(update={"slo_margin": margin, "slo_margin_us": None}) for m in scenario.models]
    settings = scenario.planner.model_copy(update={"share_devices": False, "fill": False})
    asked = scenario.model_copy(update={"models": models, "planner": settings})
    try:
        return PLANNERS[planner](LIMITS).plan(asked, profiles).solution
    except InfeasibleError:
        return None


def _weights(scenario: Scenario) -> list[float]:
    return [model.weight for model in scenario.models]
