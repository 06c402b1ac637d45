"""The batches on their way, as they are on the wire: what the policy's numbers became, and which are overdue.

The policy does not know that requests may have to run alone. If one of its batches holds such requests, it goes
out as several batches along the same route, one after the other. To the policy they are one still: a stage is over
when the last of them has left it, and the batch is lost when all of them are.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, final

from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.dispatcher.split_flights import SplitFlight, SplitWhole, Step
from penstock.serve.hops.pieces import Pieces
from penstock.units import NEVER_US


@final
@dataclass(eq=False, slots=True)
class Whole:
    """A batch of the policy. ``stages_done`` by each batch on the wire; ``told``: what the policy knows of.

    ``is_over``: all flights have left the last stage, or are lost.
    """

    plan: ServedPlan
    batch: int
    stages: int
    stages_done: dict[int, int] = field(default_factory=dict)
    told: int = 0
    is_over: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether no flight is left that was not lost."""
        return not self.stages_done

    @property
    def flights(self) -> dict[int, int]:
        """The batches on the wire that were not lost, by number."""
        return self.stages_done

    def add(self, flight: Flight) -> None:
        """A flight leaves."""
        self.stages_done[flight.batch] = 0

    def lose(self, flight: Flight) -> Sequence[tuple[int]]:
        """A flight goes no further: as :meth:`newly_over` for the rest."""
        del self.stages_done[flight.batch]
        return self.newly_over() if self.stages_done else ()

    def newly_over(self) -> Sequence[tuple[int]]:
        """The last stage that all flights have left, if the policy has not been told of it; else nothing."""
        over = min(self.stages_done.values())
        if over <= self.told:
            return ()
        self.told = over
        self.is_over = over == self.stages
        return ((over - 1,),)


@final
@dataclass(eq=False, slots=True)
class Flight:
    """A batch on the wire. ``end_us`` of each stage as it was predicted at the dispatch.

    ``is_over``: it has left the last stage.
    """

    batch: int
    whole: Whole
    requests: int
    workers: tuple[int, ...]
    end_us: tuple[int, ...]
    stage: int = 0
    is_over: bool = False
    pieces: ClassVar[Pieces] = ()

    @property
    def first_end_us(self) -> int:
        """When it should leave the first stage."""
        return self.end_us[0]

    @property
    def last_end_us(self) -> int:
        """When it should leave the last stage."""
        return self.end_us[-1]

    @property
    def workers_to_tell(self) -> tuple[int, ...]:
        """Nobody waits for a part of it."""
        return ()

    def reserved_us(self, stage: int, piece: int) -> int:
        """When it should leave ``stage``."""
        return self.end_us[stage]

    def note_done(self, stage: int, piece: int) -> Sequence[tuple[int]]:
        """It left ``stage``: the stage that is now over for all of the policy's batch, if there is a new one.

        Reports of different workers may overtake each other; the stages before are over too.
        """
        whole = self.whole
        self.stage = max(self.stage, stage + 1)
        self.is_over = self.stage == whole.stages
        whole.stages_done[self.batch] = self.stage
        return whole.newly_over()

    def awaited(self) -> list[tuple[int, int]]:
        """(worker, end as predicted) of the stage that is not done yet."""
        return [(self.workers[self.stage], self.end_us[self.stage])]

    def needs(self, gateway: int) -> bool:
        """A batch that is not split goes on without a gateway."""
        return False


AnyFlight = Flight | SplitFlight

Over = Sequence[tuple[int] | Step]
"""What is over for a batch of the policy: stages, or steps of one that is split."""


@final
class Flights:
    """All batches on the wire, by number and by due time."""

    def __init__(self) -> None:
        self._flights: dict[int, AnyFlight] = {}
        self._wholes: dict[tuple[int, int], Whole | SplitWhole] = {}
        self._due: list[tuple[int, int]] = []

    def __len__(self) -> int:
        """Batches that may still bring a result or a report."""
        return len(self._flights)

    def __iter__(self) -> Iterator[AnyFlight]:
        return iter(self._flights.values())

    def get(self, batch: int) -> AnyFlight | None:
        """The flight with that number on the wire."""
        return self._flights.get(batch)

    def any_of(self, epoch: int) -> bool:
        """Whether a batch of ``epoch`` is on its way."""
        return any(of_epoch == epoch for of_epoch, _ in self._wholes)

    def add(self, flight: AnyFlight, check_us: int) -> None:
        """``flight`` leaves now; look at it again at ``check_us``."""
        whole = flight.whole
        whole.add(flight)  # type: ignore[arg-type]  # a flight and its batch are of one kind
        self._wholes[whole.plan.epoch, whole.batch] = whole
        self._flights[flight.batch] = flight
        heapq.heappush(self._due, (check_us, flight.batch))

    def stage_done(self, flight: AnyFlight, stage: int, piece: int) -> Over:
        """``flight`` left ``stage``, or a piece of it did: what is over now for the policy's batch."""
        over = flight.note_done(stage, piece)
        if flight.is_over:
            del self._flights[flight.batch]
        if flight.whole.is_over:
            self._forget(flight.whole)
        return over

    def lose(self, flight: AnyFlight) -> Over | None:
        """``flight`` goes no further: as :meth:`stage_done` for the rest of its batch; None if there is no rest."""
        whole = flight.whole
        del self._flights[flight.batch]
        over = whole.lose(flight)  # type: ignore[arg-type]
        if whole.is_lost or whole.is_over:
            self._forget(whole)
        return None if whole.is_lost else over

    def lose_whole(self, plan: ServedPlan, batches: Sequence[int]) -> list[AnyFlight]:
        """The policy has given up its ``batches``: their flights, which are forgotten."""
        lost = []
        for batch in batches:
            whole = self._wholes.pop((plan.epoch, batch), None)
            for number in whole.flights if whole is not None else ():
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

    def due(self, now_us: int) -> list[AnyFlight]:
        """The flights to look at now. Say with :meth:`check_at` when to look at them again."""
        due = []
        while self.check_us <= now_us:
            due.append(self._flights[heapq.heappop(self._due)[1]])
        return due

    def check_at(self, flight: AnyFlight, check_us: int) -> None:
        """Look at ``flight`` again."""
        heapq.heappush(self._due, (check_us, flight.batch))

    def _forget(self, whole: Whole | SplitWhole) -> None:
        self._wholes.pop((whole.plan.epoch, whole.batch), None)
