"""The closed loop's choice: models take turns on devices, or they get parts of devices and whole batches.

No rule of thumb decides: the judge measures both ways. Turns usually hold more if a long model would make a short one
late, or if copies side by side gain little on the class (L4, T4).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import Evaluate, Score
from penstock.plan.scheduled.scheduled_plan import scheduled_plan
from penstock.profile.table import Profile


@dataclass(frozen=True)
class Chosen:
    """The better plan and its score. ``stats``: the rates that each way held, per unit of weight, for ``explain``."""

    plan: Plan
    score: Score
    stats: dict[str, float | int | str]


def choose_share(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    others: Callable[[], tuple[Plan, Score]],
    evaluate: Evaluate,
    *,
    bound: float,
    target: float,
) -> Chosen:
    """The better one of ``others`` (spatial shares and whole batches) and the scheduled plan.

    ``target``: the share of each model's requests that must be met; the others are its budget of misses.

    If one kind has no plan, the other is taken. If none has, the :class:`InfeasibleError` of ``others`` is raised.
    """
    weights = [model.weight for model in scenario.models]
    try:
        by_turns = scheduled_plan(scenario, profiles, bound=bound, miss_budget=round(1 - target, 12))
    except InfeasibleError:
        plan, score = others()
        return Chosen(plan, score, {})
    scheduled = Chosen(by_turns, evaluate(by_turns), {})
    try:
        plan, score = others()
    except InfeasibleError:
        return scheduled
    held = {
        "held_scheduled_rps": scheduled.score.goodput(weights),
        "held_otherwise_rps": score.goodput(weights),
    }
    stats: dict[str, float | int | str] = {
        **held,
        **_rates("scheduled", scheduled.score),
        **_rates("otherwise", score),
        "otherwise": ("lent pools" if plan.lent_pools else "shared pools")
        if plan.shared_pools
        else _kind(plan),
    }
    if held["held_scheduled_rps"] > held["held_otherwise_rps"]:
        return Chosen(by_turns, scheduled.score, stats)
    return Chosen(plan, score, stats)


def why_chosen(plan: Plan) -> list[str]:
    """In words: what was measured and decided, and how devices are shared. Empty for plans that were not
    compared."""
    return [*_measured(plan), *_how(plan)]


def _measured(plan: Plan) -> list[str]:
    stats = plan.stats
    if "held_scheduled_rps" not in stats or "held_otherwise_rps" not in stats:
        return []
    scheduled, otherwise = float(stats["held_scheduled_rps"]), float(stats["held_otherwise_rps"])
    kind = "turns by segments (scheduled)" if plan.scheduled is not None else str(stats["otherwise"])

    def rates(way: str) -> str:
        return ", ".join(
            f"{model.name} {float(stats[f'{way}_{model.name}_rps']):.1f}/s" for model in plan.models
        )

    return [
        f"chosen: {kind}. Measured at the target, turns by segments hold {rates('scheduled')}; {stats['otherwise']} "
        f"hold {rates('otherwise')} ({scheduled / max(otherwise, 1e-9):.2f} x)"
    ]


def _how(plan: Plan) -> list[str]:
    if plan.scheduled is None:
        return []
    lines = []
    for name, cuts in plan.scheduled.segments.items():
        cut = ", ".join(f"{model} in {len(bounds) - 1}" for model, bounds in cuts.items())
        lines.append(
            f"on {name} a job has the whole device and waits for one segment at most ({cut}); in parts of a device "
            f"every job is slower, and behind a whole batch a short model waits for all of a long one"
        )
    return lines


def _rates(way: str, score: Score) -> dict[str, float]:
    return {f"{way}_{model.name}_rps": model.held_rps for model in score.models}


def _kind(plan: Plan) -> str:
    shares = {
        stage.share for model in plan.models for pipeline in model.pipelines for stage in pipeline.stages
    }
    return "parts of devices" if shares != {1} else "whole devices"
