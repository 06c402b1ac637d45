"""The plans that a dispatcher knows: one that gets the requests, those to come, and those that still drain."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

from penstock.errors import BadInputError
from penstock.schedule.checks import checked_index
from penstock.serve.dispatcher.served_plan import ServedPlan


@final
class ServedPlans:
    """Plans by epoch. ``current`` gets the requests."""

    def __init__(self) -> None:
        self.current: ServedPlan | None = None
        self._plans: dict[int, ServedPlan] = {}
        self._ended: list[range] = []
        self._successors: dict[int, tuple[int, Sequence[int | None]]] = {}

    def __iter__(self) -> Iterator[ServedPlan]:
        """Those of this moment, whatever is added or removed meanwhile."""
        return iter(list(self._plans.values()))

    def add(self, plan: ServedPlan) -> None:
        """``plan`` gets nothing before :meth:`switch`."""
        self._plans[plan.epoch] = plan

    def get(self, epoch: int) -> ServedPlan | None:
        """The plan of ``epoch``; None if it is not known, or has ended."""
        return self._plans.get(epoch)

    def remove(self, epoch: int) -> ServedPlan | None:
        """The plan of ``epoch``, which is forgotten: whatever is said of its workers from now on is ignored."""
        plan = self._plans.pop(epoch, None)
        if plan is not None:
            self._ended.append(plan.workers)
        return plan

    def switch(self, epoch: int, carried: Sequence[int | None]) -> tuple[ServedPlan | None, ServedPlan]:
        """The plan before, and the one of ``epoch``, which is the current one now.

        ``carried[m]`` is what model m of the plan before is in this one, None if it is not in it.
        """
        before, self.current = self.current, self._plans[epoch]
        if before is not None:
            self._successors[before.epoch] = (epoch, carried)
        return before, self.current

    @property
    def replaced(self) -> list[ServedPlan]:
        """Those that were current once."""
        return [plan for epoch, plan in self._plans.items() if epoch in self._successors]

    def resolved(self, epoch: int, model: int) -> tuple[ServedPlan, int] | None:
        """The plan and the model that serve requests for ``model`` of ``epoch`` now; None if none does."""
        while epoch in self._successors:
            later, carried = self._successors[epoch]
            successor = carried[checked_index("model", model, len(carried))]
            if successor is None:
                break
            epoch, model = later, successor
        plan = self._plans.get(epoch)
        if plan is None:
            return None
        return plan, checked_index("model", model, plan.table.n_models)

    def of_worker(self, worker: int) -> ServedPlan | None:
        """The plan of ``worker``; None if that has ended.

        Raises:
            BadInputError: No plan had such a worker.
        """
        for plan in self._plans.values():
            if worker in plan.workers:
                return plan
        if any(worker in workers for workers in self._ended):
            return None
        known = ", ".join(f"{plan.workers[0]} to {plan.workers[-1]}" for plan in self._plans.values())
        raise BadInputError(f"worker (={worker}) must be one of {known or 'a plan that was added'}.")
