"""What a gateway knows of a batch on its way: whose samples its rows are, and which of them have not come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import final

from penstock.serve.gateway.waiting import Run
from penstock.serve.hops.pieces import overlaps, share_span, step_of
from penstock.serve.messages import Assign, BatchHeader


def cut_runs(runs: Sequence[Run], first: int, stop: int) -> tuple[Run, ...]:
    """The rows [``first``, ``stop``) of ``runs``, which follow each other from row 0 on."""
    begins = [0, *accumulate(run.rows for run in runs)]
    return tuple(
        Run(
            runs[one.place].request,
            runs[one.place].offset + one.first - begins[one.place],
            one.stop - one.first,
        )
        for one in overlaps(first, stop, [run.rows for run in runs])
    )


@final
@dataclass(frozen=True, slots=True)
class Shipped:
    """This gateway's share of a batch, along ``workers``.

    ``parts`` are for a batch that is split: by piece of the last stage, its worker and this share's rows of it. A part
    that came back is taken out.
    """

    epoch: int
    workers: tuple[int, ...]
    end_us: int
    runs: tuple[Run, ...]
    parts: dict[int, tuple[int, tuple[Run, ...]]] = field(default_factory=dict)

    def part(self, header: BatchHeader) -> tuple[Run, ...]:
        """The rows that ``header`` brings back: all, or those of one piece of the last stage. Nothing comes twice."""
        if header.split is None:
            return self.runs
        return self.parts.get(header.split.sender, (-1, ()))[1]

    def missing(self) -> tuple[Run, ...]:
        """What has not come back."""
        if not self.parts:
            return self.runs
        return tuple(run for _, runs in self.parts.values() for run in runs)

    def comes_from(self, worker: int) -> bool:
        """Whether ``worker`` is one that sends results that have not come back."""
        if not self.parts:
            return self.workers[-1] == worker
        return any(sender == worker for sender, _ in self.parts.values())


def shipped_share(message: Assign, gateway: int, runs: tuple[Run, ...]) -> Shipped:
    """The share of ``gateway``, ``runs``, as it leaves."""
    workers = tuple(step.worker for step in message.route)
    if not message.pieces:
        return Shipped(message.epoch, workers, message.end_us, runs)
    begin, end = share_span(message.shares, gateway)
    last = len(message.pieces) - 1
    parts = {
        one.place: (
            workers[step_of(message.pieces, last, one.place)],
            cut_runs(runs, one.first - begin, one.stop - begin),
        )
        for one in overlaps(begin, end, message.pieces[last])
    }
    return Shipped(message.epoch, workers, message.end_us, runs, parts)
