"""A journal replays into the same decisions."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.schedule.journal import JournalingPolicy, replay
from penstock.schedule.routed_policy import ReservationPolicy


def test_replay_gives_the_same_decisions():
    stages = [Stage([10, 14, 18], [0, 1]), Stage([8, 9, 10], [2, 2], [2, 3, 4])]
    table = make_table([(80, [Pipeline(3, stages)])])
    journal = JournalingPolicy(ReservationPolicy(table))
    rng = np.random.default_rng(5)
    decisions, running = [], []
    for request, now_us in enumerate(np.cumsum(rng.integers(0, 9, 300)).tolist()):
        for due in [row for row in running if row[0] <= now_us]:
            running.remove(due)
            journal.complete(now_us, *due[1:])
        journal.arrive(now_us, 0, request, now_us + 80)
        if request % 17 == 0:
            journal.cancel(request)
        if request == 100:
            journal.worker_down(now_us, 1)
        if request == 200:
            journal.worker_up(now_us, 1)
        if request == 150:
            journal.abandon(now_us, 3)
        decisions.append(journal.decide(now_us))
        for d in decisions[-1].dispatches:
            running += [(end + int(rng.integers(-3, 6)), d.batch, s) for s, end in enumerate(d.end_us)]
    assert sum(len(d.dispatches) for d in decisions) > 20
    assert replay(ReservationPolicy(table), journal.events) == decisions


@pytest.mark.parametrize("event", [("arrive", 0, 1), ("fly", 0), ("decide", 0, 1), ("cancel", 0)])
def test_unknown_events_are_refused(event):
    table = make_table([(80, [Pipeline(1, [Stage([10], [0])])])])
    with pytest.raises(BadInputError, match="journal"):
        replay(ReservationPolicy(table), [event])
