"""What a routed policy is: it is told of events with their times, and gives decisions. It has no clock and no I/O.

A driver (the simulator, the dispatcher of the live server) calls, for every event, one of ``arrive``,
``complete``, ``transferred``, ``abandon``, ``cancel``, ``worker_down`` and ``worker_up``, then ``decide``, and again
``decide`` no later than the ``wake_us`` it last got. ``now_us`` never goes backwards. The same calls give the same
decisions, on any machine: that is what makes a live journal replayable. A call with an id or a time that cannot be is
refused with :class:`penstock.errors.BadInputError`, and changes nothing.

These policies are *routed*: a batch gets a worker for every stage at once. Policies that decide stage by stage have
another protocol (:mod:`penstock.schedule.rules.reactive`). The live server drives routed policies only.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Dispatch(NamedTuple):
    """A batch to run now, with the whole of its route reserved.

    ``batch`` counts from 0 since the policy was made. ``pipeline`` is the global index of the dispatch
    table; ``requests`` in order of deadline; ``workers``, ``start_us`` and ``end_us`` have one entry per stage,
    the times as predicted. If the table splits stages, ``pieces`` says into how many pieces each stage divides this
    batch, and the three have one entry for each piece, stage by stage (:func:`penstock.schedule.pieces.steps`).
    """

    batch: int
    model: int
    pipeline: int
    requests: tuple[int, ...]
    workers: tuple[int, ...]
    start_us: tuple[int, ...]
    end_us: tuple[int, ...]
    pieces: tuple[int, ...] = ()


class Decision(NamedTuple):
    """All that is to be done at one moment.

    ``drops``: (request, cause), the cause a code of :class:`penstock.record.Outcome`. ``wake_us``: call ``decide``
    again no later than then; :data:`penstock.units.NEVER_US` if only an event can change anything.
    """

    dispatches: tuple[Dispatch, ...]
    drops: tuple[tuple[int, int], ...]
    wake_us: int


class Policy(Protocol):
    """The data plane's rule."""

    def arrive(self, now_us: int, model: int, request: int, deadline_us: int) -> None:
        """Queue ``request`` of ``model``; it must finish by ``deadline_us`` (absolute, same clock as ``now_us``)."""
        ...

    def decide(self, now_us: int) -> Decision:
        """What to do now. Cheap when nothing is due, so drivers may call it after every event."""
        ...

    def complete(self, now_us: int, batch: int, stage: int, piece: int = 0) -> None:
        """``batch`` really finished ``stage`` (0 is the first): later predictions are corrected at once.

        The stages before it are then over too: reports of different workers may overtake each other, and those that
        come late say nothing new. Batches that are not in flight are ignored. If the stage is split, only ``piece`` is
        over, and the pieces before it that have some of its rows.
        """
        ...

    def transferred(self, now_us: int, batch: int, stage: int, transfer_us: int) -> None:
        """The input of ``stage`` of ``batch`` took ``transfer_us`` from the worker before: later predictions of the
        link's time follow. Call it before ``complete``. Nothing changes if both workers are on one host, or if the
        table splits stages."""
        ...

    def abandon(self, now_us: int, batch: int) -> tuple[int, ...]:
        """``batch`` goes no further (its worker failed): what it still holds is free again.

        Returns the batch, or nothing if it is not in flight.
        """
        ...

    def cancel(self, request: int) -> bool:
        """Take a still queued ``request`` out of its queue; False if it is not queued."""
        ...

    def worker_down(self, now_us: int, worker: int) -> tuple[int, ...]:
        """Give ``worker`` no new work, and abandon the batches that are lost with it: they are returned.

        Lost are those that have a stage before them on ``worker``, and those whose last finished stage ran there:
        until the next stage is done, their data may not have left ``worker``. The driver decides what becomes of
        their requests: queue them again by ``arrive``, or answer.
        """
        ...

    def worker_up(self, now_us: int, worker: int) -> None:
        """``worker`` is idle and may get work again. Nothing changes if it is up already."""
        ...

    @property
    def in_flight(self) -> int:
        """Batches that were dispatched and are neither finished nor abandoned."""
        ...
