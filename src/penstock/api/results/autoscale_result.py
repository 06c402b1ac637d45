"""A day on a fleet that follows the load, beside static plans."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.plan.autoscale.ladder_file import save_ladder
from penstock.plan.autoscale.rungs import Rung
from penstock.plan.autoscale.scaler import ScalingRules
from penstock.plan.documents.plan import Plan
from penstock.profile.table import Profile
from penstock.simulate.autoscaled.timeline import Timeline

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class LadderRung:
    """A rung with its plan. ``planned``: the factor that it was planned for; ``rung.factor`` is what it holds."""

    plan: Plan
    rung: Rung
    planned: float


@dataclass(frozen=True)
class DayRow:
    """What a way to run the day costs and holds. ``worst_hour``: the attainment of the worst hour."""

    name: str
    cost: float
    attainment: float
    worst_hour: float
    requests: int
    switches: int
    most_devices: Mapping[str, int]


@dataclass(frozen=True, repr=False)
class AutoscaleResult(Shown):
    """``followed``: the fleet that follows the load. ``same``: the cheapest static rung that holds as much on the same
    day. ``held``: the cheapest that holds ``target``. Both are known only afterwards.

    ``loads``: the measured factor of each decision's window; ``line``: what was served and asked for when.
    """

    rules: ScalingRules
    target: float
    forecast: str
    base_rps: Mapping[str, float]
    ladder: tuple[LadderRung, ...]
    loads: tuple[float, ...]
    line: Timeline
    followed: DayRow
    same: DayRow
    held: DayRow
    profiles: Mapping[str, Profile]
    folder: Path
    warnings: tuple[str, ...] = ()

    @property
    def saved(self) -> float:
        """The part of the cost of ``same`` that following the load saves."""
        return 1.0 - self.followed.cost / self.same.cost if self.same.cost else 0.0

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the plans of the rungs and ``ladder.json`` to ``folder``, for ``penstock serve --autoscale``."""
        save_ladder(
            Path(folder),
            [one.plan for one in self.ladder],
            [one.rung for one in self.ladder],
            self.rules,
            self.base_rps,
            self.profiles,
            read_from=self.folder,
            # No server knows its day by the minute; the hours of the day before are the nearest to that.
            forecast="live" if self.forecast == "live" else "yesterday",
            force=force,
        )

    def parts(self) -> list[Part]:
        """The ladder, and the day."""
        classes = sorted({name for one in self.ladder for name in one.rung.devices})
        rungs = [
            [
                str(number),
                f"{one.planned:.3f}",
                f"{one.rung.factor:.3f}",
                f"{one.rung.factor * sum(self.base_rps.values()):.1f}",
                f"{one.rung.hourly_cost:.2f}",
                *(str(one.rung.devices.get(name, 0)) for name in classes),
            ]
            for number, one in enumerate(self.ladder, 1)
        ]
        days = [
            [
                row.name,
                f"{row.cost:.2f}",
                f"{row.attainment:.3%}",
                f"{row.worst_hour:.3%}",
                str(row.switches),
                ", ".join(f"{count} {name}" for name, count in sorted(row.most_devices.items())),
            ]
            for row in (self.followed, *self._static)
        ]
        return [
            table(
                "Rungs: plans of least cost; factors are times the mean rates",
                ["rung", "planned", "holds", "requests/s", "cost/h", *classes],
                rungs,
            ),
            table(
                f"The run: {self.followed.requests} requests, forecast {self.forecast}",
                ["plan", "cost", "attainment", "worst hour", "switches", "most devices"],
                days,
            ),
            f"Following the load costs {abs(self.saved):.1%} {'less' if self.saved >= 0 else 'more'} than the static "
            f"plan with the same attainment ({self.same.name}).",
        ]

    @property
    def _static(self) -> list[DayRow]:
        return [self.same] if self.same == self.held else [self.same, self.held]

    def document(self) -> dict[str, Any]:
        """The rungs, the rows, and what was asked for when."""
        return {
            "saved": self.saved,
            "forecast": self.forecast,
            "target": self.target,
            "rules": asdict(self.rules),
            "base_rps": dict(self.base_rps),
            "rungs": [{"planned": one.planned, **asdict(one.rung)} for one in self.ladder],
            "followed": asdict(self.followed),
            "same_attainment": asdict(self.same),
            "holds_target": asdict(self.held),
            "spells": [spell._asdict() for spell in self.line.spells],
            "changes": [change._asdict() for change in self.line.changes],
        }

    def records(self) -> list[dict[str, Any]]:
        """One row for each way to run the day."""
        return [
            {name: value for name, value in asdict(row).items() if name != "most_devices"}
            for row in (self.followed, self.same, self.held)
        ]

    def plot(self) -> Figure:
        """The load, and what the rung holds that serves, over the hours."""
        from penstock.api.showing.pictures import lines

        hour = self.rules.every_s / 3600
        load = [(number * hour, factor) for number, factor in enumerate(self.loads)]
        held = [
            (at_s / 3600, self.ladder[spell.rung].rung.factor)
            for spell in self.line.spells
            for at_s in (spell.begin_s, spell.end_s)
        ]
        return lines({"load": load, "held": held}, "hours", "times the mean rates")
