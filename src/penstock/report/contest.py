"""Comparisons as plain data. ``compare --json`` prints it, and the figures of a comparison are drawn from it."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.plan.dispatch_table import dispatch_table
from penstock.profile.table import Profile
from penstock.report.utilisation import utilisation, utilisation_by_class
from penstock.simulate.judge.contest import Contest, Entry, Rules
from penstock.simulate.judge.trial import WARM_UP_SHARE, Trial
from penstock.units import us_from_seconds


def contest_document(found: Contest, profiles: Mapping[str, Profile], rules: Rules) -> dict[str, Any]:
    """One scenario's result as plain data. ``report --figures`` draws it."""
    return {
        "fluid_rps": found.fluid_rps,
        "static_bound_rps": found.bounds.static_rps,
        "any_policy_bound_rps": found.bounds.any_policy_rps,
        "device_classes": list(found.published.plan.scenario.cluster.device_classes),
        "systems": [
            {
                "name": entry.name,
                "planner": entry.planner,
                "policy": entry.policy,
                "margin": entry.margin,
                "goodput_rps": entry.goodput_rps,
                "ratio": found.ratio(entry),
                "share_of_fluid": entry.goodput_rps / found.fluid_rps,
                "share_of_bound": entry.goodput_rps / found.bounds.static_rps,
                "utilisation": _busy(entry, profiles, rules.final(entry.policy)),
                "models": [
                    {
                        "name": model.name,
                        "load_factor": one.held_rps / model.rate_rps,
                        "published_load_factor": one.held_rps / published.rate_rps,
                        "goodput_rps": one.held_rps,
                        "low_rps": one.low_rps,
                        "high_rps": one.high_rps,
                        "curve": [[rate / published.rate_rps, share] for rate, share in one.curve],
                    }
                    for one, model, published in zip(
                        entry.score.models, entry.plan.models, found.published.plan.models, strict=True
                    )
                ],
            }
            for entry in (found.published, *found.entries)
        ],
    }


def summary(found: Sequence[Contest]) -> list[dict[str, Any]]:
    """For every system that has a plan in all scenarios: geometric mean, mean of ratios, ratio of means."""
    rows = []
    for name in dict.fromkeys(entry.name for one in found for entry in (one.published, *one.entries)):
        pairs = [
            (one, entry) for one in found for entry in (one.published, *one.entries) if entry.name == name
        ]
        ratios = [one.ratio(entry) for one, entry in pairs]
        if len(pairs) == len(found):
            total = sum(entry.goodput_rps for _, entry in pairs)
            rows.append(
                {
                    "name": name,
                    "geometric_mean": statistics.geometric_mean(ratios) if min(ratios) > 0 else 0.0,
                    "mean_of_ratios": statistics.fmean(ratios),
                    "ratio_of_means": total / sum(one.published.goodput_rps for one in found),
                    "share_of_fluid": statistics.fmean(e.goodput_rps / one.fluid_rps for one, e in pairs),
                    "share_of_bound": statistics.fmean(
                        e.goodput_rps / one.bounds.static_rps for one, e in pairs
                    ),
                }
            )
    return rows


def _busy(entry: Entry, profiles: Mapping[str, Profile], trial: Trial) -> dict[str, float]:
    """Busy share of each device class at the goodput that is held, on the trial's first seed."""
    plan, seconds = entry.plan, trial.seconds
    rates = [entry.goodput_rps * model.weight for model in plan.scenario.models]
    record = trial.record(dispatch_table(plan, profiles), rates, trial.seeds[0])
    start_us, stop_us = us_from_seconds(seconds * WARM_UP_SHARE), us_from_seconds(seconds)
    return utilisation_by_class(
        utilisation(record, len(plan.placement), start_us=start_us, stop_us=stop_us),
        [worker.device_class for worker in plan.placement],
        [worker.share for worker in plan.placement],
        {name: spec.count for name, spec in plan.scenario.cluster.device_classes.items()},
    )
