"""The best bound so far, and which method gave what in how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from penstock.partition.bounds.program import SLACK
from penstock.partition.budget import Deadline


@dataclass(frozen=True)
class BoundResult:
    """``bound``: no partition is under it. ``by_method``: (bound, seconds) of each method that ran.

    ``proven_by``: the method that gave the bound. ``complete``: the bound is within the gap that was asked for.
    """

    bound: float
    by_method: dict[str, tuple[float, float]]
    proven_by: str
    complete: bool


@dataclass
class Ledger:
    """Collects bounds until they reach ``goal``; the clock of each method starts where the last one ended."""

    best_known: float
    until_gap: float
    deadline: Deadline
    bound: float = 0.0
    proven_by: str = "trivial"
    by_method: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def goal(self) -> float:
        """The bound that is enough; never nearer to the best known than a solver can vouch for."""
        return self.best_known * (1 - max(self.until_gap, 2 * SLACK))

    def is_done(self) -> bool:
        """Whether the goal is reached."""
        return self.bound >= self.goal

    def must_stop(self) -> bool:
        """Whether the goal is reached or the time is up."""
        return self.is_done() or self.deadline.is_over()

    def note(self, method: str, bound: float, seconds: float) -> None:
        """Take a valid ``bound``; no proof may pass what a partition is known to reach, so it is held to that."""
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
        """What is proven now."""
        return BoundResult(self.bound, dict(self.by_method), self.proven_by, self.is_done())
