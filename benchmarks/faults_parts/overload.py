"""More load than the plan has room for: does the goodput stay flat?"""

from __future__ import annotations

from dataclasses import dataclass

from faults_parts.trial import SLO_US, Answer, serving

LOADS = (0.9, 1.0, 1.5, 3.0)
LEAST = 0.95
"""Of the largest goodput of all loads."""


@dataclass(frozen=True)
class Overload:
    """Goodput (requests/s that met the SLO) by load; wrong answers and lost connections over all."""

    goodput_rps: dict[float, float]
    wrong: int
    lost: int
    left: list[str]

    @property
    def least(self) -> float:
        """The least goodput above a load of 1, as a share of the peak."""
        peak = max(self.goodput_rps.values())
        return min(rate for load, rate in self.goodput_rps.items() if load > 1) / peak

    @property
    def broken(self) -> list[str]:
        """The limits that do not hold."""
        found = [] if self.least >= LEAST else [f"goodput falls to {self.least:.1%} of its peak"]
        found += ["wrong answers"] if self.wrong else []
        found += ["requests without an answer"] if self.lost else []
        return found + (["something is left"] if self.left else [])


def overload(seconds: float, scale: float) -> Overload:
    """Each load for ``seconds`` on one server. ``scale`` shortens nothing: the plan's rate is what it is."""
    left: list[str] = []
    goodput, answers = {}, []
    with serving(left=left) as (_, load):
        for share in LOADS:
            sent = load.send(load.planned_rps * share * scale, seconds)
            answers += sent
            goodput[share] = sum(map(_met, sent)) / seconds
    wrong = sum(one.status == 200 and not one.is_right for one in answers)
    return Overload(goodput, wrong, sum(one.status == -1 for one in answers), left)


def _met(one: Answer) -> bool:
    return one.status == 200 and one.is_right and one.took_s * 1e6 <= SLO_US
