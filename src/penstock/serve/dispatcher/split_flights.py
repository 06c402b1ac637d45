"""A batch on the wire whose stages are split among several workers, and what it means to the policy.

A batch leaves a stage in pieces, and each is reported. A *step* is a piece of a stage. It is over for the policy when
every flight of its batch that has rows in it has left it. If any worker of a flight is lost, so is the flight, because
its pieces need each other. The workers that have, or will get, parts of it are then told not to wait for the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import final

from penstock.schedule.checks import checked_index
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.hops.pieces import Pieces, overlaps, span_of, step_of

Step = tuple[int, int]
"""A stage, and one of its pieces."""


@final
@dataclass(eq=False, slots=True)
class SplitWhole:
    """A batch of the policy. ``waits``: by step, how many flights have not left it.

    ``is_over``: all flights have left the last stage, or are lost.
    """

    plan: ServedPlan
    batch: int
    flights: dict[int, SplitFlight] = field(default_factory=dict)
    waits: dict[Step, int] = field(default_factory=dict)
    is_over: bool = False

    @property
    def is_lost(self) -> bool:
        """Whether no flight is left that was not lost."""
        return not self.flights

    def add(self, flight: SplitFlight) -> None:
        """A flight leaves."""
        self.flights[flight.batch] = flight
        for step in flight.left:
            self.waits[step] = self.waits.get(step, 0) + 1

    def lose(self, flight: SplitFlight) -> Sequence[Step]:
        """A flight goes no further: the steps that are over now for the rest."""
        del self.flights[flight.batch]
        return self.leave(flight.left)

    def leave(self, steps: Iterable[Step]) -> Sequence[Step]:
        """A flight left, or will never leave, ``steps``: those that are over now, in the order of the stages."""
        over = []
        for step in sorted(steps):
            self.waits[step] -= 1
            if not self.waits[step]:
                del self.waits[step]
                over.append(step)
        self.is_over = not self.waits
        return over


@final
@dataclass(eq=False, slots=True)
class SplitFlight:
    """A batch on the wire in ``pieces``. ``workers``, ``end_us`` in the order of the route; ``gateways`` that send it.

    ``left``: the steps that have rows and are not over. ``is_over``: there is none.
    """

    batch: int
    whole: SplitWhole
    requests: int
    workers: tuple[int, ...]
    end_us: tuple[int, ...]
    pieces: Pieces
    gateways: tuple[int, ...]
    left: set[Step] = field(init=False)
    is_over: bool = False

    def __post_init__(self) -> None:
        self.left = {
            (stage, piece)
            for stage, rows in enumerate(self.pieces)
            for piece, length in enumerate(rows)
            if length
        }

    @property
    def first_end_us(self) -> int:
        """When the first of its pieces should leave the first stage."""
        return min(end_us for _, end_us in self.awaited())

    @property
    def last_end_us(self) -> int:
        """When its last piece should leave the last stage."""
        return max(self.end_us[-len(self.pieces[-1]) :])

    @property
    def workers_to_tell(self) -> tuple[int, ...]:
        """Who must hear that it is lost: the workers with a step before them."""
        steps = (step_of(self.pieces, *step) for step in sorted(self.left))
        return tuple(dict.fromkeys(self.workers[step] for step in steps))

    def reserved_us(self, stage: int, piece: int) -> int:
        """When a piece should leave its stage; :class:`BadInputError` for one that the batch does not have."""
        return self.end_us[step_of(self.pieces, *self._checked(stage, piece))]

    def note_done(self, stage: int, piece: int) -> Sequence[Step]:
        """A piece left its stage: the steps that are over now for the policy's batch.

        Reports of different workers may overtake each other, so what the piece came from is over too.
        """
        over = self._with_senders(self._checked(stage, piece)) & self.left
        self.left -= over
        self.is_over = not self.left
        return self.whole.leave(over)

    def awaited(self) -> list[tuple[int, int]]:
        """(worker, end as predicted) of every step whose input is complete."""
        ready = [step for step in sorted(self.left) if self.left.isdisjoint(self._senders(step))]
        places = [step_of(self.pieces, *step) for step in ready]
        return [(self.workers[place], self.end_us[place]) for place in places]

    def needs(self, gateway: int) -> bool:
        """Whether it may wait for rows of ``gateway``."""
        return gateway in self.gateways and any(stage == 0 for stage, _ in self.left)

    def _checked(self, stage: int, piece: int) -> Step:
        stage = checked_index("stage", stage, len(self.pieces))
        return stage, checked_index("piece", piece, len(self.pieces[stage]))

    def _senders(self, step: Step) -> list[Step]:
        """The steps before that this one gets rows of; none at the first stage."""
        stage, piece = step
        if stage == 0:
            return []
        first, stop = span_of(self.pieces[stage], piece)
        return [(stage - 1, one.place) for one in overlaps(first, stop, self.pieces[stage - 1])]

    def _with_senders(self, step: Step) -> set[Step]:
        """The step, and all that its rows came through."""
        found = {step}
        for sender in self._senders(step):
            found |= self._with_senders(sender)
        return found
