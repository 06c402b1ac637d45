"""The verdicts: passed, failed, not decided, or void with the reason.

The bar is relative to Poisson's error, since a load that is nearly Poisson tells nothing: there Poisson itself is
right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.simulate.decisive.contestants import Outcome, Rules

LEAST_POISSON_ERROR = 0.15
"""Below it the real load is too near Poisson to tell generators apart."""
ALWAYS_GOOD = 0.03
SHARE_OF_POISSON = 0.2


@dataclass(frozen=True)
class Verdict:
    """``result``: ``passed``, ``failed``, ``undecided`` or ``void``; ``reason`` in words."""

    name: str
    result: str
    reason: str


def judge_sessions(outcomes: Sequence[Outcome], rules: Rules) -> list[Verdict]:
    """Part (a), for each generated load: its error is at most that of another real sample or 3%, and a fifth of
    Poisson's."""
    poisson = _of_role(outcomes, "plain")
    real = abs(_of_role(outcomes, "other real").error.mean)
    bar = min(max(ALWAYS_GOOD, real), SHARE_OF_POISSON * abs(poisson.error.mean))
    text = (
        f"may be {bar:.1%}: the larger of {ALWAYS_GOOD:.0%} and another real sample's {real:.1%}, and a fifth of "
        f"Poisson's {abs(poisson.error.mean):.1%}"
    )
    return _judged(outcomes, poisson, bar, text, rules)


def judge_aggregate(outcomes: Sequence[Outcome], rules: Rules) -> list[Verdict]:
    """Part (b): at most the other real half's error, and no worse than shuffled gaps by more than their interval."""
    poisson = _of_role(outcomes, "plain")
    real = abs(_of_role(outcomes, "other real").error.mean)
    shuffled = _of_role(outcomes, "shuffled").error
    bar = min(real, abs(shuffled.mean) + shuffled.half_width)
    text = (
        f"may be {bar:.1%}: the other real half's {real:.1%}, and shuffled gaps' {abs(shuffled.mean):.1%} with their "
        f"interval of {shuffled.half_width:.1%}"
    )
    return _judged(outcomes, poisson, bar, text, rules)


def _judged(
    outcomes: Sequence[Outcome], poisson: Outcome, bar: float, text: str, rules: Rules
) -> list[Verdict]:
    return [_one(one, poisson, bar, text, rules) for one in outcomes if one.contestant.role == "generated"]


def _one(one: Outcome, poisson: Outcome, bar: float, text: str, rules: Rules) -> Verdict:
    name, error = one.contestant.name, one.error
    if abs(poisson.error.mean) < LEAST_POISSON_ERROR:
        return Verdict(
            name,
            "void",
            f"Poisson itself is within {abs(poisson.error.mean):.1%} of the real load, and below "
            f"{LEAST_POISSON_ERROR:.0%} this load cannot tell generators apart",
        )
    said = f"the error is {error.mean:+.1%} ± {error.half_width:.1%} and {text}"
    if error.half_width > max(rules.half_width, bar / 2):
        return Verdict(name, "undecided", f"{said}; the interval is too wide after {len(one.held)} runs")
    return Verdict(name, "passed" if abs(error.mean) <= bar else "failed", said)


def _of_role(outcomes: Sequence[Outcome], role: str) -> Outcome:
    return next(one for one in outcomes if one.contestant.role == role)
