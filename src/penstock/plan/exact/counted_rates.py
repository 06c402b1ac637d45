"""What a program counts of each template's rate, if that is not the rate itself, and what interfaces carry.

In a plain program a template's rate counts as it is, in one row for each model. Here a model has several rows, and each
counts another part of each rate. All of them must reach the model's weight times the objective, or its demand. So the
program can say that capacity *and* backlog must suffice (:mod:`penstock.plan.hold.depth_program`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64

if TYPE_CHECKING:
    from penstock.plan.highs import Rows


@dataclass(frozen=True)
class CountedRates:
    """``part`` (rows, templates): what each row of model ``model`` (rows,) counts of a template's rate.

    ``load`` (interfaces, templates): for how long one request of a template keeps an interface busy, in seconds.
    ``room`` (interfaces,): how many such interfaces there are.
    """

    model: I64
    part: F64
    load: F64
    room: F64

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> CountedRates:
        """The same for some of the templates."""
        return CountedRates(self.model, self.part[:, rows], self.load[:, rows], self.room)

    def served(self, model: I64) -> list[tuple[I64, F64]]:
        """For each row the templates that it counts, and the parts. ``model`` (templates,)."""
        own = [np.flatnonzero(model == m) for m in self.model.tolist()]
        return [(rows, part[rows]) for rows, part in zip(own, self.part, strict=True)]

    @property
    def least_part(self) -> float:
        """No row counts less of a rate than this."""
        return float(self.part.min(initial=1.0))

    def hold_interfaces(self, rows: Rows, rate: Sequence[int], unit_rps: F64) -> None:
        """Rows for the interfaces. ``rate``: the column of each template's rate, in ``unit_rps`` (templates,)."""
        for load, room in zip(self.load * unit_rps, self.room.tolist(), strict=True):
            used = np.flatnonzero(load)
            rows.row([(rate[t], float(load[t])) for t in used.tolist()], upper=room)
