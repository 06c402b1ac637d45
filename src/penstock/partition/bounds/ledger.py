"""The best bound so far, and the bound and the time of each method."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.arrays import F64
from penstock.partition.bounds.programs.bound_program import SLACK
from penstock.partition.budget import Deadline


@dataclass(frozen=True)
class BoundResult:
    """``bound``: no partition is under it. ``by_method``: (bound, seconds) of each method that ran.

    ``proven_by``: the method that gave the bound. ``complete``: the bound is within the requested gap.
    ``priorities``: each (operators,), orders that a proof came across and whose cuts may be good partitions.
    """

    bound: float
    by_method: dict[str, tuple[float, float]]
    proven_by: str
    complete: bool
    priorities: tuple[F64, ...] = ()


@dataclass
class Ledger:
    """Collects bounds until they reach ``goal``. The time of each method starts when the last method ended."""

    best_known: float
    until_gap: float
    deadline: Deadline
    bound: float = 0.0
    proven_by: str = "trivial"
    by_method: dict[str, tuple[float, float]] = field(default_factory=dict)
    priorities: tuple[F64, ...] = ()

    @property
    def goal(self) -> float:
        """The bound that is enough. It is never nearer to the best known value than a solver can guarantee."""
        return self.best_known * (1 - max(self.until_gap, 2 * SLACK))

    def is_done(self) -> bool:
        """Whether the goal is reached."""
        return self.bound >= self.goal

    def must_stop(self) -> bool:
        """Whether the goal is reached or the time is over."""
        return self.is_done() or self.deadline.is_over()

    def note(self, method: str, bound: float, seconds: float) -> None:
        """Store a valid ``bound``. No proof may exceed a value that a partition reaches, so it is limited to that."""
        bound = min(bound, self.best_known)
        earlier = self.by_method.get(method, (0.0, 0.0))
        self.by_method[method] = (max(bound, earlier[0]), seconds + earlier[1])
        if bound > self.bound:
            self.bound, self.proven_by = bound, method

    def run(self, method: str, prove: Callable[[], float]) -> None:
        """Run ``prove`` and note its bound, unless the ledger must stop."""
        if self.must_stop():
            return
        start = self.deadline.elapsed_s()
        bound = prove()
        self.note(method, bound, self.deadline.elapsed_s() - start)

    def result(self) -> BoundResult:
        """What is proven at this time."""
        return BoundResult(self.bound, dict(self.by_method), self.proven_by, self.is_done(), self.priorities)
