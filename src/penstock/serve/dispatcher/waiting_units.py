"""The units that wait in the queues of the policies, and the requests that they are parts of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.messages import owner_of


class WaitingUnit(NamedTuple):
    """A unit that a policy has queued. ``alone``: it must not share a batch with other requests."""

    plan: ServedPlan
    model: int
    request: int
    deadline_us: int
    alone: bool


@final
class WaitingUnits:
    """Units by number. A part of an answer is no answer: what still waits of a request leaves together."""

    def __init__(self) -> None:
        self._units: dict[int, WaitingUnit] = {}
        self._siblings: dict[int, set[int]] = {}

    def __contains__(self, unit: int) -> bool:
        return unit in self._units

    def arrive(self, now_us: int, units: Sequence[int], one: WaitingUnit) -> None:
        """Queue the units of a request."""
        if len(units) > 1 or units[0] != one.request:
            self._siblings.setdefault(one.request, set()).update(units)
        for unit in units:
            self._queue(now_us, unit, one)

    def cancel(self, request: int) -> None:
        """What waits of ``request`` leaves the queue."""
        for unit in list(self._siblings.get(request, (request,))):
            self._unqueue(unit)

    def cancel_of(self, gateway: int) -> None:
        """Nobody waits for the units of ``gateway``."""
        for unit in [unit for unit in self._units if owner_of(unit) == gateway]:
            self._unqueue(unit)

    def drop(self, unit: int) -> None:
        """A policy gave up ``unit``: what still waits of its request leaves the queue."""
        one = self._leave(unit)
        if one is not None and one.request in self._siblings:
            self.cancel(one.request)

    def carry(
        self, now_us: int, before: ServedPlan, after: ServedPlan, carried: Sequence[int | None]
    ) -> None:
        """What waits for model m of ``before`` waits for model ``carried[m]`` of ``after``; None: it stays."""
        for unit, one in list(self._units.items()):
            model = carried[one.model] if one.plan is before else None
            if model is not None:
                before.policy.cancel(unit)
                before.waiting -= 1
                self._queue(now_us, unit, one._replace(plan=after, model=model))

    def take(self, units: Sequence[int]) -> list[tuple[list[int], int]]:
        """``units`` wait no more, and go out so: those that may be together, and each request that must be alone.

        With each lot comes its number of requests.
        """
        together: list[int] = []
        requests: set[int] = set()
        alone: dict[int, list[int]] = {}
        for unit in units:
            one = self._leave(unit)
            assert one is not None, f"the policy dispatched unit {unit}, which does not wait"
            if one.alone:
                alone.setdefault(one.request, []).append(unit)
            else:
                together.append(unit)
                requests.add(one.request)
        lots = [(together, len(requests))] if together else []
        return lots + [(own, 1) for own in alone.values()]

    def _queue(self, now_us: int, unit: int, one: WaitingUnit) -> None:
        one.plan.policy.arrive(now_us, one.model, unit, one.deadline_us)
        one.plan.waiting += 1
        self._units[unit] = one

    def _unqueue(self, unit: int) -> None:
        one = self._leave(unit)
        if one is not None:
            one.plan.policy.cancel(unit)

    def _leave(self, unit: int) -> WaitingUnit | None:
        one = self._units.pop(unit, None)
        if one is not None:
            one.plan.waiting -= 1
            siblings = self._siblings.get(one.request)
            if siblings is not None:
                siblings.discard(unit)
                if not siblings:
                    del self._siblings[one.request]
        return one
