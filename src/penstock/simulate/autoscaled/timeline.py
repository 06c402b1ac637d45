"""What an autoscaler does in a day: which rung serves when, and which devices are paid for how long.

A device is paid for from the moment when it is asked for. It can be used ``node_s`` later. A plan that is switched to
serves ``load_s`` later, and until then the old one serves. At each decision only what is there then counts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from penstock.arrays import F64
from penstock.plan.autoscale.forecast import Forecast
from penstock.plan.autoscale.rungs import Rung
from penstock.plan.autoscale.scaler import Decision, Scaler, ScalingRules
from penstock.traffic.arrivals import Arrivals
from penstock.units import us_from_seconds

SECONDS_PER_HOUR = 3600.0


class Spell(NamedTuple):
    """Rung ``rung`` serves from ``begin_s`` to ``end_s``."""

    rung: int
    begin_s: float
    end_s: float


class Change(NamedTuple):
    """``devices`` of a class were asked for (above 0) or given back (below 0)."""

    at_s: float
    device_class: str
    devices: int


@dataclass
class Fleet:
    """Devices that are there, and those that were asked for: (when they come, class, how many), in that order."""

    there: dict[str, int]
    coming: list[tuple[float, str, int]] = field(default_factory=list)

    def arrive(self, now_s: float) -> None:
        """Those that have come are there."""
        for at_s, name, count in self.coming:
            if at_s <= now_s:
                self.there[name] = self.there.get(name, 0) + count
        self.coming = [one for one in self.coming if one[0] > now_s]

    def paid(self, name: str) -> int:
        """Devices of a class that cost something."""
        return self.there.get(name, 0) + sum(count for _, other, count in self.coming if other == name)

    def change_to(self, want: Mapping[str, int], now_s: float, node_s: float) -> list[Change]:
        """Ask for what is missing, give back what is too much: first what has not come yet, the latest first."""
        changes = []
        for name in sorted({*self.there, *want, *(one[1] for one in self.coming)}):
            more = want.get(name, 0) - self.paid(name)
            if more > 0:
                self.coming.append((now_s + node_s, name, more))
            elif more < 0:
                self._give_back(name, -more)
            if more:
                changes.append(Change(now_s, name, more))
        return changes

    def _give_back(self, name: str, count: int) -> None:
        for place in range(len(self.coming) - 1, -1, -1):
            at_s, other, coming = self.coming[place]
            if other == name and count:
                fewer = min(coming, count)
                count -= fewer
                self.coming[place] = (at_s, other, coming - fewer)
        self.coming = [one for one in self.coming if one[2]]
        self.there[name] = self.there.get(name, 0) - count


@dataclass(frozen=True)
class Timeline:
    """The spells of a day, the changes of the fleet, and the cost of its devices, in the unit of ``hourly_cost``."""

    spells: tuple[Spell, ...]
    changes: tuple[Change, ...]
    cost: float


def timeline(
    rungs: Sequence[Rung],
    prices: Mapping[str, float],
    rules: ScalingRules,
    forecast: Forecast,
    loads: F64,
) -> Timeline:
    """A day of ``loads``: the factor that is measured in each ``every_s``.

    The window before it had the load of the first one. The day begins with the rung for the first forecast, with all
    its devices there.
    """
    end_s = len(loads) * rules.every_s
    forecast.observe(0.0, float(loads[0]))
    first = Scaler(rungs, rules, 0).rung_for(forecast.peak(0.0, rules.ahead_s) * rules.safety)
    scaler = Scaler(rungs, rules, first)
    fleet = Fleet(dict(rungs[first].devices))
    spells = [Spell(first, 0.0, end_s)]
    changes: list[Change] = []
    cost = 0.0
    loaded_s, loading = -1.0, first
    for step, load in enumerate(loads.tolist()):
        now_s = step * rules.every_s
        fleet.arrive(now_s)
        serving = spells[-1].rung
        if loading != serving and loaded_s <= now_s:
            spells[-1:] = [spells[-1]._replace(end_s=loaded_s), Spell(loading, loaded_s, end_s)]
            serving = loading
        decision = scaler.step(now_s, forecast.peak(now_s, rules.ahead_s), fleet.there, serving)
        if loading == serving != decision.serve:
            loading, loaded_s = decision.serve, now_s + rules.load_s
        changes += fleet.change_to(_with(decision, rungs[loading]), now_s, rules.node_s)
        hourly = sum(fleet.paid(name) * price for name, price in prices.items())
        cost += hourly * rules.every_s / SECONDS_PER_HOUR
        forecast.observe(now_s + rules.every_s, load)
    return Timeline(tuple(spells), tuple(changes), cost)


def _with(decision: Decision, loading: Rung) -> dict[str, int]:
    """What is wanted, and what the plan needs that is being loaded."""
    return {
        name: max(decision.want.get(name, 0), loading.devices.get(name, 0))
        for name in {*decision.want, *loading.devices}
    }


def static_timeline(rungs: Sequence[Rung], rung: int, seconds: float) -> Timeline:
    """One rung all day."""
    cost = rungs[rung].hourly_cost * seconds / SECONDS_PER_HOUR
    return Timeline((Spell(rung, 0.0, seconds),), (), cost)


def window_loads(arrivals: Arrivals, base_rps: Sequence[float], every_s: float, seconds: float) -> F64:
    """The load of each ``every_s`` of a run, as a factor on the base rates: that of the model that has most."""
    windows = max(1, math.ceil(seconds / every_s))
    window = np.minimum(arrivals.arrival_us // us_from_seconds(every_s), windows - 1)
    counts = np.zeros((windows, len(base_rps)))
    np.add.at(counts, (window, arrivals.model), 1.0)
    loads: F64 = (counts / every_s / np.array(base_rps)).max(axis=1)
    return loads
