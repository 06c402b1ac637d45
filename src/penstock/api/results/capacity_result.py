"""What a rate costs on a cluster, and the value of one more device of each class."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from penstock.api.showing.objective import held_unit
from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.questions.capacity import (
    CostPoint,
    DeviceWorth,
    aimed_at,
    cost_curve,
    most_served,
    worth_of_devices,
)
from penstock.plan.questions.cost import cost_per_million
from penstock.progress import task
from penstock.result import Result

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from penstock.profile.table import Profile


@dataclass(frozen=True, repr=False)
class CapacityResult(Shown):
    """``most``: the largest factor of every weight or demand that is served. ``curve``: the least cost of parts of it,
    None if a class has no price. ``worth``: one more device of each class. ``base``: the plan without it.
    """

    scenario: Scenario
    most: float
    base: Result[Plan]
    curve: tuple[CostPoint, ...] | None
    worth: tuple[DeviceWorth, ...]
    warnings: tuple[str, ...] = ()

    def parts(self) -> list[Part]:
        """The cost curve, and the worth of the devices."""
        unit = held_unit(self.scenario)
        found: list[Part] = []
        if self.curve is not None:
            classes = list(self.scenario.cluster.device_classes)
            found.append(
                table(
                    f"Least cost of a rate, up to the most that the cluster serves ({self.most:.4f} {unit})",
                    ["rate", "requests/s", "cost/h", "bound", "per million", *classes],
                    [
                        [
                            f"{point.factor:.4f}",
                            f"{sum(point.rates_rps.values()):.1f}",
                            f"{point.hourly_cost:.2f}",
                            f"{point.bound:.2f}",
                            f"{_per_million(point):.2f}",
                            *(str(point.devices[name]) for name in classes),
                        ]
                        for point in self.curve
                    ],
                )
            )
        objective = self.scenario.planner.objective
        meaning = {"cost": "an hour less", "energy": "W less"}.get(objective, f"more {unit}")
        found.append(
            table(
                f"One more device ({self.base.objective:.4f} without; worth {meaning}, proven within least and most)",
                ["class", "in service", "objective", "worth", "least", "most", "dual"],
                [
                    [
                        one.device_class,
                        str(self.scenario.cluster.device_classes[one.device_class].available),
                        f"{one.objective:.4f}",
                        f"{one.worth:.4f}",
                        f"{one.least:.4f}",
                        f"{one.most:.4f}",
                        "-" if one.dual is None else f"{one.dual:.4f}",
                    ]
                    for one in self.worth
                ],
            )
        )
        return found

    def document(self) -> dict[str, Any]:
        """The objective, its value and bound, the curve and the worths."""
        return {
            "objective": self.scenario.planner.objective,
            "value": self.base.objective,
            "bound": self.base.bound,
            "most": self.most,
            "curve": None if self.curve is None else [_told(point) for point in self.curve],
            "one_more": [asdict(one) for one in self.worth],
        }

    def records(self) -> list[dict[str, Any]]:
        """One row a point of the curve; without prices, one row a device class."""
        if self.curve is None:
            return [asdict(one) for one in self.worth]
        return [
            {
                "factor": point.factor,
                "rate_rps": sum(point.rates_rps.values()),
                "hourly_cost": point.hourly_cost,
                "bound": point.bound,
                "cost_per_million": _per_million(point),
                **{f"devices_{name}": count for name, count in point.devices.items()},
            }
            for point in self.curve
        ]

    def plot(self) -> Figure:
        """The cost curve; without prices, the worth of one more device."""
        from penstock.api.showing.pictures import bars, lines

        if self.curve is None:
            return bars(
                [one.device_class for one in self.worth],
                [one.worth for one in self.worth],
                "worth of one more device",
            )
        points = [(sum(point.rates_rps.values()), point.hourly_cost) for point in self.curve]
        return lines({"least cost": points}, "requests/s", "cost per hour")


def _per_million(point: CostPoint) -> float:
    return cost_per_million(point.hourly_cost, sum(point.rates_rps.values()))


def _told(point: CostPoint) -> dict[str, Any]:
    return {**asdict(point), "cost_per_million": _per_million(point)}


def capacity_of(
    scenario: Scenario, profiles: Mapping[str, Profile], points: int, limits: SearchLimits
) -> CapacityResult:
    """The capacity of ``scenario``, with ``points`` on its cost curve. ``limits`` are for each plan."""
    planner = PoolPlanner(limits)
    objective, warnings = scenario.planner.objective, []
    classes = scenario.cluster.device_classes
    with task("planning", 2 + points + len(classes)) as step:
        throughput = planner.plan(aimed_at(scenario, "throughput"), profiles)
        step(1, "most that is served")
        most = most_served(scenario, profiles, planner, throughput.objective)
        step(2, "cost curve")
        curve: list[CostPoint] | None = None
        if all(spec.hourly_cost is not None or not spec.count for spec in classes.values()):
            curve = []
            for number in range(1, points + 1):
                factor = most * number / points
                curve += cost_curve(scenario, profiles, planner, [factor])
                if not curve or curve[-1].factor != factor:
                    warnings.append(
                        f"no point at {factor:.4f}: at lower rates, batches gather too slowly for the SLO"
                    )
                step(2 + number, f"cost of {number} of {points} points")
        else:
            warnings.append("no cost curve: give every device class with devices an hourly_cost")
        base = (
            throughput if objective == "throughput" else planner.plan(aimed_at(scenario, objective), profiles)
        )
        worth = []
        for one in worth_of_devices(aimed_at(scenario, objective), profiles, planner, base):
            worth.append(one)
            step(2 + points + len(worth), f"one more {one.device_class}")
    warnings += [
        f"{name}: the worth of one more is unknown: its price, or its latencies in some profile, are missing"
        for name in sorted(classes.keys() - {one.device_class for one in worth})
    ]
    kept = None if curve is None else tuple(curve)
    return CapacityResult(scenario, most, base, kept, tuple(worth), tuple(warnings))
