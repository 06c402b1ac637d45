"""What a device's own policy gives up: the dispatcher's and the gateway's books, without processes."""

import numpy as np
import pytest
from test_dispatcher_core import NOTHING, Scripted, arrive, of, to_all
from test_gateway_ledger import Desk

from penstock.record import Outcome
from penstock.schedule.policy import Decision, Dispatch
from penstock.serve.messages import BatchDropped, StageDropped
from penstock.units import NEVER_US


@pytest.mark.parametrize(("cause", "status"), [(Outcome.DROPPED_EARLY, 503), (Outcome.DROPPED_DEADLINE, 504)])
def test_a_batch_that_a_device_dropped_answers_its_requests_once(cause, status):
    desk = Desk()
    one, other = desk.admit(1), desk.admit(1)
    desk.ship(7, [0])
    desk.ship(8, [1])
    assert desk.ledger.sent_of(one) == [(7, 3)]
    for _ in range(2):  # a second report says nothing new
        desk.ledger.drop_batch(BatchDropped(7, int(cause)), 20)
    (error,) = desk.answers[0]
    assert error.http_status == status
    assert desk.outcome(one) == [cause]
    assert desk.ledger.sent_of(one) == []
    assert desk.ledger.in_flight == 1
    desk.bring_back(8, np.array([1]))
    assert desk.outcome(other) == [Outcome.MET]


def test_a_batch_that_others_share_is_not_taken_back():
    desk = Desk()
    one, _ = desk.admit(2), desk.admit(1)
    desk.ship(0, [0])
    desk.ship(1, [1, 2])
    assert desk.ledger.sent_of(one) == [(0, 3)]


def test_a_drop_frees_the_policy_and_is_told_once():
    policy = Scripted(
        *[NOTHING] * 3, Decision((Dispatch(0, 0, 0, (5,), (0, 1), (0, 0), (9, 9)),), (), NEVER_US)
    )
    dispatcher = of(policy)
    for worker in (0, 1):
        dispatcher.worker_up(0, worker, "somewhere")
    dispatcher.arrive(1, arrive(5, 1, 100))
    dropped = StageDropped(0, 0, int(Outcome.DROPPED_DEADLINE))
    assert dispatcher.stage_dropped(2, dropped) == to_all(BatchDropped(0, int(Outcome.DROPPED_DEADLINE)))
    assert ("abandon", 2, 0) in policy.told
    assert dispatcher.stage_dropped(3, dropped) == []
