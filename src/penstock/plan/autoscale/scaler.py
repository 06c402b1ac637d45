"""When to ask for which devices, and when to switch to which rung of the ladder.

Upwards it asks at once, downwards only after the load was low for some time: a device that is missing costs requests,
one that is idle costs a few minutes. Devices are never given back before the plan that uses them is served no more.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from penstock.errors import BadInputError
from penstock.plan.autoscale.rungs import Rung, all_of, suffices


@dataclass(frozen=True)
class ScalingRules:
    """How the load is followed; times in seconds.

    ``node_s``: from asking for a device until it is there. ``load_s``: from there until a plan's workers have loaded.
    ``every_s``: how often a decision is made. ``calm_s``: how long the load must be low before devices are given back.
    ``safety``: what is planned for is so many times the forecast. Raises :class:`BadInputError` for a value out of
    range.
    """

    node_s: float = 180.0
    load_s: float = 30.0
    every_s: float = 60.0
    calm_s: float = 900.0
    safety: float = 1.2

    def __post_init__(self) -> None:
        for name, least in (
            ("node_s", 0.0),
            ("load_s", 0.0),
            ("calm_s", 0.0),
            ("every_s", 1.0),
            ("safety", 1.0),
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= least):
                raise BadInputError(f"{name} (={value:g}) must be a number >= {least:g}.")

    @property
    def ahead_s(self) -> float:
        """How far to look: what is asked for now serves after this time, and until then the next decision helps."""
        return self.node_s + self.load_s + 2 * self.every_s


@dataclass(frozen=True)
class Decision:
    """``want``: devices by class to have in all. ``serve``: the rung to switch to; the one that serves means stay."""

    want: Mapping[str, int]
    serve: int


@final
class Scaler:
    """Follows the load over ``rungs``, which rise in ``factor``. It begins with the rung ``aim``."""

    def __init__(self, rungs: Sequence[Rung], rules: ScalingRules, aim: int) -> None:
        self._rungs = rungs
        self._rules = rules
        self._needs: deque[tuple[float, float]] = deque()
        self.aim = aim

    def step(self, now_s: float, forecast: float, there: Mapping[str, int], serving: int) -> Decision:
        """Decide. ``forecast``: the highest load until a device that is asked for now would serve.

        ``there``: the devices that are there; ``serving``: the rung that is served.
        """
        needed = forecast * self._rules.safety
        self._needs.append((now_s, needed))
        while self._needs[0][0] < now_s - self._rules.calm_s:
            self._needs.popleft()
        at_once = self.rung_for(needed)
        in_calm = self.rung_for(max(need for _, need in self._needs))
        self.aim = max(at_once, min(self.aim, in_calm))
        serve = self._reachable(there, serving)
        want = all_of(*(self._rungs[rung].devices for rung in {self.aim, serve, serving}))
        return Decision(want, serve)

    def rung_for(self, factor: float) -> int:
        """The lowest rung that serves ``factor``, or the highest of all."""
        for place, rung in enumerate(self._rungs):
            if rung.factor >= factor:
                return place
        return len(self._rungs) - 1

    def _reachable(self, there: Mapping[str, int], serving: int) -> int:
        """The rung nearest to the aim that the devices there can serve, if it is nearer than the one that serves."""
        rungs = range(serving, self.aim + 1) if self.aim >= serving else (self.aim,)
        return max((rung for rung in rungs if suffices(there, self._rungs[rung].devices)), default=serving)
