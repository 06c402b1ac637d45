"""What every optimiser returns: the solution, and the proof of how good it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, TypeVar

S = TypeVar("S")


class Status(Enum):
    """How an optimisation ended; the value is the sentence shown to people."""

    OPTIMAL = "optimal: the gap is within the requested tolerance"
    FEASIBLE = "feasible: stopped at a limit before the gap closed"


@dataclass(frozen=True)
class Result(Generic[S]):
    """A solution with its proof.

    ``objective`` is the solution's value, ``bound`` a proven limit that no solution can pass, both in the
    unit of the objective; ``gap`` is ``|bound - objective| / max(|objective|, tiny)``. No result is
    ever returned for an infeasible input: that raises :class:`penstock.errors.InfeasibleError`.
    """

    solution: S
    status: Status
    objective: float
    bound: float
    gap: float
    stats: Mapping[str, float | int | str] = field(default_factory=dict)


def relative_gap(objective: float, bound: float) -> float:
    """The relative distance of ``objective`` from its proven ``bound``; 0 where they agree."""
    return abs(bound - objective) / max(abs(objective), 1e-12)
