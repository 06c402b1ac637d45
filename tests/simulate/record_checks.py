"""What holds in every record, whatever the policy: each request ends once, nothing is double booked."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

import numpy as np

from penstock.record import Outcome, Record
from penstock.simulate.stagewise.pool_state import TransferLog


def check_conservation(record: Record, arrived: int) -> None:
    """Arrived = met + late + dropped, and the outcome agrees with the finish."""
    requests = record.requests
    outcome = requests.outcome
    ended = [int((outcome == o).sum()) for o in Outcome if o != Outcome.ERROR]
    assert sum(ended) == arrived == len(outcome)
    answered = np.isin(outcome, (Outcome.MET, Outcome.LATE))
    assert np.array_equal(answered, requests.finish_us >= 0)
    assert np.array_equal(answered, requests.batch >= 0)
    met = answered & (requests.finish_us <= requests.deadline_us)
    assert np.array_equal(outcome == Outcome.MET, met)


def check_workers(record: Record) -> None:
    """A worker runs one batch at a time, none before it was queued."""
    b = record.batches
    assert np.all(b.start_us >= b.queued_us)
    for worker in np.unique(b.worker):
        rows = b.worker == worker
        check_disjoint(zip(b.start_us[rows].tolist(), b.end_us[rows].tolist(), strict=True))


def check_transfers(transfers: TransferLog) -> None:
    """An uplink sends, and a downlink that is modelled receives, one transfer at a time."""
    for links in (transfers.uplink, transfers.downlink):
        for link in np.unique(links[links >= 0]):
            rows = links == link
            sent, received = transfers.sent_us[rows].tolist(), transfers.received_us[rows].tolist()
            check_disjoint(zip(sent, received, strict=True))


def check_disjoint(spans: Iterable[tuple[int, int]]) -> None:
    """No two spans overlap."""
    assert all(later[0] >= earlier[1] for earlier, later in pairwise(sorted(spans)))
