"""A graph split into stages: the stages, the bound, and the proof's gap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.heterogeneous import HeterogeneousPartition
from penstock.partition.partition import Partition
from penstock.result import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penstock.arrays import F64

SHOWN_OPERATORS = 3


@dataclass(frozen=True, repr=False)
class PartitionResult(Shown):
    """``source`` split into at most ``k`` stages of like devices. ``result`` has the split and its proven bound."""

    source: GraphFile
    k: int
    result: Result[Partition]
    warnings: tuple[str, ...] = ()

    def parts(self) -> list[Part]:
        """One row a stage; then what the slowest stage spends, and the proof."""
        unit, result, stages = self.source.unit, self.result, self.records()
        rows = [
            [
                s["stage"],
                len(s["operators"]),
                *(f"{s[key]:.4f}" for key in ("work", "in", "out", "cost")),
                _which(s["operators"]),
            ]
            for s in stages
        ]
        slowest = max(stages, key=lambda stage: float(stage["cost"]))
        return [
            table(
                f"{self.source.problem.name}: times in {unit}",
                ["stage", "operators", "work", "in", "out", "cost", "which"],
                rows,
            ),
            f"Bottleneck {result.objective:.6g} {unit}: stage {slowest['stage']}, of it work {slowest['work']:.6g}, in "
            f"{slowest['in']:.6g}, out {slowest['out']:.6g}, streamed {slowest['streamed']:.6g}.",
            _proof(result, unit),
        ]

    def document(self) -> dict[str, Any]:
        """The split, its bound, and what found them."""
        result = self.result
        return {
            "graph": self.source.problem.name,
            "k": self.k,
            "unit": self.source.unit,
            **_proven(result),
            "stages": [
                {key: value for key, value in stage.items() if key != "stage"} for stage in self.records()
            ],
            "boundaries": result.solution.boundaries(),
            "stats": dict(result.stats),
        }

    def records(self) -> list[dict[str, Any]]:
        """One row a stage; costs in the graph's unit."""
        costs = self.result.solution.costs
        return [
            {
                "stage": index,
                "operators": operators,
                "work": float(costs.work[index]),
                "in": float(costs.in_[index]),
                "out": float(costs.out[index]),
                "streamed": float(costs.streamed[index]),
                "cost": float(costs.total[index]),
            }
            for index, operators in enumerate(self.result.solution.members())
        ]

    def plot(self) -> Figure:
        """What each stage spends on work and on transfers."""
        from penstock.api.showing.pictures import stacked

        rows = self.records()
        shares = {part: [row[part] for row in rows] for part in ("work", "in", "out", "streamed")}
        return stacked([f"stage {row['stage']}" for row in rows], shares, self.source.unit)


@dataclass(frozen=True, repr=False)
class UnlikePartitionResult(Shown):
    """``source`` split over different devices, and its proven bound. ``class_us``: operators' times by class, in us."""

    source: GraphFile
    class_us: Mapping[str, F64]
    result: Result[HeterogeneousPartition]
    warnings: tuple[str, ...] = ()

    @property
    def found(self) -> HeterogeneousPartition:
        """The split."""
        return self.result.solution

    def parts(self) -> list[Part]:
        """One row a stage; then the proof."""
        rows = [
            [row["stage"], row["device_class"], len(row["operators"]), _which(row["operators"])]
            for row in self.records()
        ]
        title = f"{self.source.problem.name}: different devices, bottleneck {self.found.bottleneck:.6g} us"
        return [table(title, ["stage", "class", "operators", "which"], rows), _proof(self.result, "us")]

    def document(self) -> dict[str, Any]:
        """The split, its slowest stage, and its bound."""
        return {
            "graph": self.source.problem.name,
            "unit": "us",
            **_proven(self.result),
            "stages": [{key: row[key] for key in ("device_class", "operators")} for row in self.records()],
            "stats": dict(self.result.stats),
        }

    def records(self) -> list[dict[str, Any]]:
        """One row a stage, with the time of its operators without transfers."""
        operators = self.source.problem.operators
        found = []
        for stage, device_class in enumerate(self.found.classes):
            members = np.flatnonzero(self.found.block == stage)
            found.append(
                {
                    "stage": stage,
                    "device_class": device_class,
                    "operators": [operators[i] for i in members],
                    "work_us": float(self.class_us[device_class][members].sum()),
                }
            )
        return found

    def plot(self) -> Figure:
        """The work of each stage."""
        from penstock.api.showing.pictures import bars

        rows = self.records()
        names = [f"stage {row['stage']} on {row['device_class']}" for row in rows]
        return bars(names, [row["work_us"] for row in rows], "work of the stage (us)")


def _proof(result: Result[Any], unit: str) -> str:
    return (
        f"Bound {result.bound:.6g} {unit} (by {result.stats['bound_by']}), gap {100 * result.gap:.2f}%; "
        f"{result.status.value}; {result.stats['seconds']:.1f} s."
    )


def _proven(result: Result[Any]) -> dict[str, Any]:
    return {
        "bottleneck": result.objective,
        "bound": result.bound,
        "gap": result.gap,
        "status": result.status.name.lower(),
        "seconds": result.stats["seconds"],
    }


def _which(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= SHOWN_OPERATORS else f"{names[0]} ... {names[-1]}"
