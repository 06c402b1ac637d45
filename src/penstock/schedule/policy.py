"""What every routed policy is: events go in with their time, decisions come out. No clock, no I/O, no threads.

A driver (the simulator, the dispatcher of the live server) calls, for every event, one of ``arrive``,
``complete``, ``abandon``, ``cancel``, ``worker_down`` and ``worker_up``, then ``decide``, and again ``decide`` no
later than the ``wake_us`` it last got. ``now_us`` never goes backwards. The same calls give the same
decisions, on any machine: that is what makes a live journal replayable.

This is the family of *routed* policies: a batch gets a worker for every stage at once. Policies that decide stage by
stage have their own small protocol (:mod:`penstock.schedule.reactive`); the live server drives routed ones only.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Dispatch(NamedTuple):
    """A batch to run now, with the whole of its route reserved.

    ``batch`` counts from 0 over the policy's life. ``pipeline`` is the global index of the dispatch
    table; ``requests`` in order of deadline; ``workers``, ``start_us`` and ``end_us`` have one entry per stage,
    the times as predicted.
    """

    batch: int
    model: int
    pipeline: int
    requests: tuple[int, ...]
    workers: tuple[int, ...]
    start_us: tuple[int, ...]
    end_us: tuple[int, ...]


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

    def complete(self, now_us: int, batch: int, stage: int) -> None:
        """``batch`` really finished ``stage`` (0 is the first): later predictions are corrected at once.

        Unknown and abandoned batches are ignored.
        """
        ...

    def abandon(self, now_us: int, batch: int) -> None:
        """``batch`` goes no further (its worker failed): what it still holds is free again."""
        ...

    def cancel(self, request: int) -> bool:
        """Take a still queued ``request`` out of its queue; False if it is not queued."""
        ...

    def worker_down(self, now_us: int, worker: int) -> None:
        """Give ``worker`` no new work, and abandon every batch that holds time on it.

        The driver decides what becomes of those requests: queue them again by ``arrive``, or answer.
        """
        ...

    def worker_up(self, now_us: int, worker: int) -> None:
        """``worker`` is idle and may get work again."""
        ...
