"""What the load generator sent, row by row, and the record of it."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import I64
from penstock.record import Batches, Outcome, Record, Requests
from penstock.serve.load.sample_request import Subject

SKIPPED = -1
"""In place of an HTTP status: the client did not send it, because a newer frame was there."""

_OUTCOMES = {
    SKIPPED: Outcome.DROPPED_EARLY,
    503: Outcome.DROPPED_EARLY,
    504: Outcome.DROPPED_DEADLINE,
}


@dataclass(frozen=True)
class LoadResult:
    """The result of a run. ``lag_us``: actual minus intended send time of each request that was sent.

    ``statuses``: answers by HTTP status, 0 for none, -1 for frames that were skipped. ``server`` is the server's own
    metadata.
    """

    record: Record
    lag_us: I64
    statuses: Mapping[int, int]
    server: Mapping[str, object]


class Sent:
    """Growing columns, one row a request."""

    def __init__(self) -> None:
        self.model = array("q")
        self.due_us = array("q")
        self.lag_us = array("q")
        self.finish_us = array("q")
        self.status = array("q")

    def __len__(self) -> int:
        """The number of requests."""
        return len(self.model)

    def add(self, model: int, due_us: int) -> int:
        """A request for ``model``, due at ``due_us``; returns its row."""
        for column, value in (
            (self.model, model),
            (self.due_us, due_us),
            (self.lag_us, 0),
            (self.finish_us, 0),
            (self.status, SKIPPED),
        ):
            column.append(value)
        return len(self.model) - 1

    def result(self, subjects: Sequence[Subject], server: Mapping[str, object]) -> LoadResult:
        """The rows in order of the time at which they were due; batches the client cannot see.

        A 503 counts as ``dropped:early``, as does a skipped frame, a 504 as ``dropped:deadline``, anything else but 200
        as ``error``.
        """
        order = np.argsort(np.array(self.due_us, np.int64), kind="stable")
        columns = (self.model, self.due_us, self.lag_us, self.finish_us, self.status)
        model, due_us, lag_us, finish_us, status = (np.array(c, np.int64)[order] for c in columns)
        deadline_us = due_us + np.array([subject.slo_us for subject in subjects], np.int64)[model]
        answered = status == 200
        in_time = np.where(finish_us <= deadline_us, Outcome.MET, Outcome.LATE)
        failed = np.array([_OUTCOMES.get(s, Outcome.ERROR) for s in status.tolist()], np.int64)
        unknown = np.full(len(order), -1, np.int64)
        record = Record(
            models=tuple(subject.name for subject in subjects),
            requests=Requests(
                model=model,
                request=np.arange(len(order), dtype=np.int64),
                arrival_us=due_us,
                deadline_us=deadline_us,
                pipeline=unknown,
                batch=unknown,
                finish_us=np.where(answered, finish_us, -1),
                outcome=np.where(answered, in_time, failed).astype(np.int64),
            ),
            batches=Batches(*(np.zeros(0, np.int64) for _ in Batches.__dataclass_fields__)),
            source="measured",
        )
        return LoadResult(record, lag_us[status != SKIPPED], Counter(status.tolist()), server)
