"""The batches on their way, as they are on the wire: what the policy's numbers became, and which are overdue.

The policy does not know that requests may have to run alone. If one of its batches holds such requests, it goes
out as several batches along the same route, one after the other. To the policy they are one still: a stage is over
when the last of them has left it, and the batch is lost when all of them are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import final

from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.units import NEVER_US


@dataclass(eq=False, slots=True)
class Whole:
    """A batch of the policy. ``stages_done`` by each batch on the wire; ``told``: what the policy knows of."""

    plan: ServedPlan
    batch: int
    stages: int
    stages_done: dict[int, int] = field(default_factory=dict)
    told: int = 0


@dataclass(eq=False, slots=True)
class Flight:
    """A batch on the wire. ``end_us`` of each stage as it was predicted at the dispatch."""

    batch: int
    whole: Whole
    requests: int
    workers: tuple[int, ...]
    end_us: tuple[int, ...]
    stage: int = 0

    @property
    def worker(self) -> int:
        """The worker of the stage that is not done yet."""
        return self.workers[self.stage]

    @property
    def due_us(self) -> int:
        """When that stage should end."""
        return self.end_us[self.stage]


@final
class Flights:
    """All batches on the wire, by number and by due time."""

    def __init__(self) -> None:
        self._flights: dict[int, Flight] = {}
        self._wholes: dict[tuple[int, int], Whole] = {}
        self._due: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """Batches that may still bring a result or a report."""
        return len(self._flights)

    def __iter__(self) -> Iterator[Flight]:
        return iter(self._flights.values())

    def get(self, batch: int) -> Flight | None:
        """The flight with that number on the wire."""
        return self._flights.get(batch)

    def any_of(self, epoch: int) -> bool:
        """Whether a batch of ``epoch`` is on its way."""
        return any(of_epoch == epoch for of_epoch, _ in self._wholes)

    def add(self, flight: Flight, check_us: int) -> None:
        """``flight`` leaves now; look at it again at ``check_us``."""
        whole = flight.whole
        whole.stages_done[flight.batch] = 0
        self._wholes[whole.plan.epoch, whole.batch] = whole
        self._flights[flight.batch] = flight
        heapq.heappush(self._due, (check_us, flight.batch))

    def stage_done(self, flight: Flight, stage: int) -> int | None:
        """``flight`` left ``stage``: the stage that is now over for all of the policy's batch, if there is a new one.

        Reports of different workers may overtake each other; the stages before are over too.
        """
        whole = flight.whole
        flight.stage = max(flight.stage, stage + 1)
        whole.stages_done[flight.batch] = flight.stage
        if flight.stage == whole.stages:
            del self._flights[flight.batch]
        return self._newly_over(whole)

    def lose(self, flight: Flight) -> int | None:
        """``flight`` goes no further: as :meth:`stage_done` for the rest of its batch; -1 if there is no rest."""
        whole = flight.whole
        del self._flights[flight.batch]
        del whole.stages_done[flight.batch]
        if not whole.stages_done:
            del self._wholes[whole.plan.epoch, whole.batch]
            return -1
        return self._newly_over(whole)

    def lose_whole(self, plan: ServedPlan, batches: Sequence[int]) -> list[Flight]:
        """The policy has given up its ``batches``: their flights, which are forgotten."""
        lost = []
        for batch in batches:
            whole = self._wholes.pop((plan.epoch, batch), None)
            for number in whole.stages_done if whole is not None else ():
                flight = self._flights.pop(number, None)
                if flight is not None:
                    lost.append(flight)
        return lost

    @property
    def check_us(self) -> int:
        """When the next flight is to be looked at."""
        while self._due and self._due[0][1] not in self._flights:
            heapq.heappop(self._due)
        return self._due[0][0] if self._due else NEVER_US

    def due(self, now_us: int) -> list[Flight]:
        """The flights to look at now. Say with :meth:`check_at` when to look at them again."""
        due = []
        while self.check_us <= now_us:
            due.append(self._flights[heapq.heappop(self._due)[1]])
        return due

    def check_at(self, flight: Flight, check_us: int) -> None:
        """Look at ``flight`` again."""
        heapq.heappush(self._due, (check_us, flight.batch))

    def _newly_over(self, whole: Whole) -> int | None:
        over = min(whole.stages_done.values())
        if over == whole.stages:
            self._wholes.pop((whole.plan.epoch, whole.batch), None)
        if over <= whole.told:
            return None
        whole.told = over
        return over - 1
