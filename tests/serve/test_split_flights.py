"""The dispatcher's books of batches that stages split: what the policy, the gateways and the workers are told."""

from __future__ import annotations

import numpy as np
import pytest
from test_dispatcher_core import NOTHING, Scripted, arrive, column, of, to, to_all

from penstock.errors import BadInputError
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.table import DispatchTable
from penstock.serve.control import WorkerSilent
from penstock.serve.dispatcher.liveness import ANSWER_US, LOST_US, OVERDUE_US
from penstock.serve.dispatcher.outgoing import EVERY, ForEngine, ForWorker
from penstock.serve.messages import (
    Again,
    Assign,
    CancelBatch,
    Failed,
    GatewayGone,
    Ping,
    Pong,
    RouteStep,
    Share,
    StageDone,
    StageFailed,
    numbered,
)
from penstock.units import NEVER_US


def table():
    """One model, one pipeline: three workers for the first stage, two for the second; batches of 4."""
    rows = np.array([[0, 1_000, 1_500, 2_000, 2_500]] * 2)
    return DispatchTable(
        slo_us=column(100_000),
        pipeline_offsets=column(0, 1),
        stage_offsets=column(0, 2),
        worker_offsets=column(0, 3, 5),
        pipeline_batch=column(4),
        latency_us=rows,
        p99_us=rows,
        transfer_us=np.zeros((2, 5), np.int64),
        worker_host=column(0, 1, 2, 3, 4),
        worker_device=column(0, 1, 2, 3, 4),
    )


ENDPOINTS = ("a", "b", "c", "d", "e")


def decision(pieces, workers, units, ends):
    return Decision((Dispatch(0, 0, 0, units, workers, (0,) * len(workers), ends, pieces),), (), NEVER_US)


def running(pieces=(2, 1), workers=(0, 1, 3), units=(5, 6, 7, 8), ends=None, lost=(), gateways=1, **asked):
    """A dispatcher that has just sent ``units`` off, the policy, and what it said."""
    sent = decision(pieces, workers, units, ends or tuple(100 * (k + 1) for k in range(len(workers))))
    policy = Scripted(*[NOTHING] * (5 + len(units)), sent, lost=lost)
    dispatcher = of(policy, table=table())
    for worker, endpoint in enumerate(ENDPOINTS):
        dispatcher.worker_up(1, worker, endpoint)
    for gateway in range(1, gateways):
        dispatcher.gateway_up(1, gateway, f"gateway-{gateway}")
    for unit in units[:-1]:
        dispatcher.arrive(2, arrive(unit, 1, 10_000, request=unit, **asked))
    policy.decisions = [sent]
    told = dispatcher.arrive(3, arrive(units[-1], 1, 10_000, request=units[-1], **asked))
    policy.told.clear()
    return dispatcher, policy, told


def done(stage, piece, *, batch=0, worker=0):
    return StageDone(0, batch, 0, stage, worker, 2, 5, 5, 6, 0, piece)


def completions(policy):
    found = [call[2:] for call in policy.told if call[0] == "complete"]
    policy.told.clear()
    return found


def test_the_gateway_hears_the_route_and_the_rows_of_each_piece():
    _, _, told = running()
    route = (RouteStep(0, "a"), RouteStep(1, "b"), RouteStep(3, "d"))
    shares = (Share(0, 4, "gateway-0"),)
    assert told == to(0, Assign(0, 0, 0, (5, 6, 7, 8), route, shares, 300, ((2, 2), (4,))))


def test_the_batch_should_be_back_when_its_last_piece_is():
    _, _, told = running((1, 2), (0, 3, 4), ends=(50, 400, 90))
    assert told[0].message.end_us == 400


def test_a_batch_of_single_pieces_is_as_any_other():
    dispatcher, policy, told = running((1, 1), (0, 3), units=(5,))
    assert told[0].message.pieces == ()
    dispatcher.stage_done(9, done(0, 0))
    assert completions(policy) == [(0, 0)]


def test_each_piece_is_over_by_itself_and_the_batch_when_all_are():
    dispatcher, policy, _ = running((3, 2), (0, 1, 2, 3, 4))
    for step in ((0, 2), (0, 0), (0, 1), (1, 1), (1, 0)):
        assert dispatcher.in_flight == 1
        dispatcher.stage_done(9, done(*step))
        assert completions(policy) == [(0, *step)]
    assert dispatcher.in_flight == 0
    dispatcher.stage_done(9, done(1, 0))
    assert completions(policy) == []


def test_a_report_that_overtakes_says_that_what_it_came_from_is_over():
    """Rows 0-1, 2, 3 and 0-1, 2-3: the second piece of the second stage came through the last two of the first."""
    dispatcher, policy, _ = running((3, 2), (0, 1, 2, 3, 4))
    dispatcher.stage_done(9, done(1, 1))
    assert completions(policy) == [(0, 0, 1), (0, 0, 2), (0, 1, 1)]
    dispatcher.stage_done(9, done(0, 1))
    assert completions(policy) == []
    dispatcher.stage_done(9, done(1, 0))
    assert completions(policy) == [(0, 0, 0), (0, 1, 0)]
    assert dispatcher.in_flight == 0


@pytest.mark.parametrize(("stage", "piece"), [(0, 2), (1, 1), (0, -1)])
def test_a_piece_that_the_batch_does_not_have_is_refused(stage, piece):
    dispatcher, policy, _ = running()
    with pytest.raises(BadInputError, match="piece"):
        dispatcher.stage_done(9, done(stage, piece))
    assert dispatcher.reserved_end_us(done(0, 1)) == 200
    assert completions(policy) == []


def cancelled(*workers, batch=0):
    return [ForWorker(worker, CancelBatch(batch)) for worker in workers]


def test_a_piece_that_fails_fails_the_batch_once():
    """Its other workers are told, and what they say later does not count."""
    dispatcher, policy, _ = running()
    dispatcher.stage_done(8, done(0, 0))
    policy.told.clear()
    told = dispatcher.stage_failed(9, StageFailed(0, 1, "refused"))
    assert told == [*to_all(Failed((0,), -1, "refused", Again.ALONE)), *cancelled(1, 3)]
    assert [call for call in policy.told if call[0] == "abandon"] == [("abandon", 9, 0)]
    policy.told.clear()
    assert dispatcher.stage_failed(10, StageFailed(0, 0, "refused too")) == []
    dispatcher.stage_done(10, done(0, 0))
    assert completions(policy) == []
    assert dispatcher.in_flight == 0


def test_a_part_that_did_not_come_is_nobodys_fault():
    dispatcher, _, _ = running()
    told = dispatcher.stage_failed(9, StageFailed(0, 3, "a part did not come.", is_incomplete=True))
    assert told[0].message.again is Again.TOGETHER


def test_a_batch_is_lost_with_the_worker_of_any_piece():
    dispatcher, policy, _ = running(lost=(0,))
    told = dispatcher.worker_down(9, 1, "worker 1 died.")
    assert told[0] == to_all(Failed((0,), 1, "worker 1 died.", Again.TOGETHER))[0]
    assert told[1:4] == cancelled(0, 1, 3)
    assert dispatcher.in_flight == 0
    assert not [call for call in policy.told if call[0] == "abandon"]  # the policy named it itself


def test_every_overdue_piece_has_its_worker_pinged_and_the_next_stage_waits():
    dispatcher, policy, _ = running(ends=(100, 5_000, 10_000), lost=(0,))
    assert dispatcher.wake_us == 100 + OVERDUE_US
    told = dispatcher.look_after(5_000 + OVERDUE_US)
    assert told == [ForWorker(0, Ping()), ForWorker(1, Ping())]
    dispatcher.stage_done(6_000 + OVERDUE_US, done(0, 0, worker=0))
    later_us = 5_001 + OVERDUE_US + ANSWER_US
    told = dispatcher.look_after(later_us)
    assert isinstance(told[0], ForEngine)
    assert isinstance(told[0].message, WorkerSilent)
    assert told[0].message.worker == 1
    assert isinstance(told[1].message, Failed)
    assert dispatcher.in_flight == 0
    assert dispatcher.look_after(later_us + 10 * ANSWER_US) == []
    assert policy.told


def test_a_batch_whose_part_an_idle_worker_does_not_know_is_lost():
    dispatcher, policy, _ = running()
    dispatcher.stage_done(90, done(0, 0, worker=0))
    dispatcher.stage_done(95, done(0, 1, worker=1))
    assert dispatcher.look_after(300 + OVERDUE_US) == [ForWorker(3, Ping())]
    dispatcher.pong(301 + OVERDUE_US, Pong(3, 0, -1))
    now_us = 302 + LOST_US
    told = dispatcher.look_after(now_us)
    assert told[0].message == Failed((0,), -1, "the batch did not reach worker 3.", Again.TOGETHER)
    assert told[1:] == cancelled(3)
    assert ("abandon", now_us, 0) in policy.told


@pytest.mark.parametrize("over", [(), ((0, 0),), ((0, 0), (0, 1))])
def test_a_gateway_that_dies_takes_along_only_batches_that_may_lack_its_rows(over):
    theirs = numbered(1, 3)
    dispatcher, policy, told = running(units=(5, 6, theirs, theirs + 1), gateways=2)
    assert {one.gateway for one in told} == {0, 1}
    for step in over:
        dispatcher.stage_done(9, done(*step))
    told = dispatcher.gateway_down(10, 1)
    assert told[0] == ForWorker(EVERY, GatewayGone(1))
    if len(over) == 2:
        assert told[1:] == []
        assert dispatcher.in_flight == 1
    else:
        assert told[1].message.again is Again.TOGETHER
        assert dispatcher.in_flight == 0
        assert any(call[0] == "abandon" for call in policy.told)


def test_requests_that_run_alone_take_their_rows_of_each_piece():
    """Four batches of one row each: a piece is over when both that have rows in it have left it."""
    dispatcher, policy, told = running(alone=True)
    layouts = [one.message.pieces for one in told]
    assert layouts == [((1, 0), (1,)), ((1, 0), (1,)), ((0, 1), (1,)), ((0, 1), (1,))]
    dispatcher.stage_done(9, done(0, 0, batch=0))
    assert completions(policy) == []
    dispatcher.stage_done(9, done(0, 0, batch=1))
    assert completions(policy) == [(0, 0, 0)]
    told = dispatcher.stage_failed(10, StageFailed(2, 1, "refused"))
    assert told[0].message == Failed((2,), -1, "refused", Again.NEVER)
    assert completions(policy) == []
    dispatcher.stage_done(11, done(0, 1, batch=3))
    assert completions(policy) == [(0, 0, 1)]
    for batch in (0, 1, 3):
        dispatcher.stage_done(12, done(1, 0, batch=batch))
    assert completions(policy) == [(0, 1, 0)]
    assert dispatcher.in_flight == 0


def test_the_last_of_several_batches_that_fails_ends_the_steps_that_waited_for_it():
    dispatcher, policy, _ = running(units=(5, 6), alone=True)
    dispatcher.stage_done(9, done(0, 0, batch=0))
    assert completions(policy) == [(0, 0, 0)]
    dispatcher.stage_failed(10, StageFailed(1, 1, "refused"))
    assert completions(policy) == [(0, 0, 1)]
    dispatcher.stage_done(11, done(1, 0, batch=0))
    assert completions(policy) == [(0, 1, 0)]
    assert dispatcher.in_flight == 0
