"""The books around the policy, with a policy that does as it is told and a clock set by hand."""

from __future__ import annotations

import json

import msgspec
import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.journal import replay
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.table import DispatchTable
from penstock.serve.control import Drained, WorkerHung, WorkerSilent
from penstock.serve.dispatcher.dispatcher import Dispatcher
from penstock.serve.dispatcher.journal import JournalFile, read_journal
from penstock.serve.dispatcher.liveness import ANSWER_US, LEAST_RUN_US, LOST_US, OVERDUE_US
from penstock.serve.dispatcher.outgoing import EVERY, ForEngine, ForGateway, ForWorker
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.messages import (
    Again,
    Arrive,
    Assign,
    Cancel,
    Cancelled,
    Dropped,
    Failed,
    GatewayGone,
    Ping,
    Pong,
    Readiness,
    RouteStep,
    Share,
    StageDone,
    StageFailed,
    numbered,
)
from penstock.units import NEVER_US

LATE_US = 1_000


def column(*values):
    return np.array(values, dtype=np.int64)


def two_stage_table():
    """One model, one pipeline of two stages with one worker each; batch 2."""
    rows = np.array([[0, 1_000, 1_500]] * 2)
    return DispatchTable(
        slo_us=column(100_000),
        pipeline_offsets=column(0, 1),
        stage_offsets=column(0, 2),
        worker_offsets=column(0, 1, 2),
        pipeline_batch=column(2),
        latency_us=rows,
        p99_us=rows,
        transfer_us=np.array([[0, 0, 0], [0, 10, 20]]),
        worker_host=column(0, 1),
        worker_device=column(0, 1),
    )


class Scripted:
    """Gives the decisions it was handed, one a call, then waits forever; notes what it is told.

    ``lost``: what it answers when a batch or a worker fails.
    """

    in_flight = 0

    def __init__(self, *decisions, lost=()):
        self.decisions = list(decisions)
        self.lost = lost
        self.told = []

    def decide(self, now_us):
        self.told.append(("decide", now_us))
        return self.decisions.pop(0) if self.decisions else Decision((), (), NEVER_US)

    def cancel(self, request):
        self.told.append(("cancel", request))
        return True

    def abandon(self, *arguments):
        self.told.append(("abandon", *arguments))
        return self.lost

    def worker_down(self, *arguments):
        self.told.append(("worker_down", *arguments))
        return self.lost

    def __getattr__(self, name):
        return lambda *arguments: self.told.append((name, *arguments))


NOTHING = Decision((), (), NEVER_US)


def dispatch(batch, *units):
    return Decision((Dispatch(batch, 0, 0, units, (0, 1), (0, 0), (1, 2)),), (), NEVER_US)


def of(policy, *, late_us=0, table=None):
    """A dispatcher of gateway 0 that serves ``policy``; its workers are down."""
    dispatcher = Dispatcher(0, late_us=late_us)
    dispatcher.add_plan(ServedPlan(0, policy, two_stage_table() if table is None else table, 0))
    dispatcher.switch(0, 0)
    dispatcher.gateway_up(0, 0, "gateway-0")
    return dispatcher


def running(*decisions, lost=()):
    """A dispatcher whose two workers are up."""
    policy = Scripted(NOTHING, NOTHING, NOTHING, *decisions, lost=lost)
    dispatcher = of(policy, late_us=LATE_US)
    dispatcher.worker_up(1, 0, "a")
    told = dispatcher.worker_up(1, 1, "b")
    assert told == to_all(Readiness(0, 0, (True,)))
    policy.told.clear()
    return dispatcher, policy


def to_all(*messages):
    return [ForGateway(EVERY, message) for message in messages]


def to(gateway, *messages):
    return [ForGateway(gateway, message) for message in messages]


def arrive(first, samples, deadline_us, **changes):
    """Units of gateway 0 for model 0, told to dispatcher 0."""
    fields = {"dispatcher": 0, "epoch": 0, "model": 0, "request": first, **changes}
    return Arrive(first=first, samples=samples, deadline_us=deadline_us, **fields)


def done(batch, stage, *, epoch=0, pipeline=0, worker=0):
    return StageDone(epoch, batch, pipeline, stage, worker, 1, 5, 5, 6, 0)


def test_not_ready_before_every_stage_has_a_worker():
    assert of(Scripted()).worker_up(1, 0, "a") == to_all(Readiness(0, 0, (False,)))


def test_a_stage_is_ready_while_its_pool_has_any_worker():
    """Both stages on one pool of two: either worker alone serves the model."""
    dispatcher = of(Scripted(), table=two_stage_table()._replace(stage_pool=column(0, 0)))
    assert dispatcher.worker_up(1, 1, "b") == to_all(Readiness(0, 0, (True,)))
    assert dispatcher.worker_up(2, 0, "a") == to_all(Readiness(0, 0, (True,)))
    assert dispatcher.worker_down(3, 1, "died")[1:] == to_all(Readiness(0, 0, (True,)))


ROUTE = (RouteStep(0, "a"), RouteStep(1, "b"))


def test_a_dispatch_becomes_a_route():
    dispatcher, _ = running(dispatch(0, 7))
    told = dispatcher.arrive(5, arrive(7, 1, 100))
    assert told == to(0, Assign(0, 0, 0, (7,), ROUTE, (Share(0, 1, "gateway-0"),), 2))


def test_a_batch_of_two_gateways_is_told_to_each_in_shares():
    ours, theirs = 7, numbered(1, 3)
    dispatcher, _ = running(NOTHING, NOTHING, dispatch(0, theirs, ours, 8))
    dispatcher.gateway_up(2, 1, "gateway-1")
    dispatcher.arrive(3, arrive(theirs, 1, 100))
    dispatcher.arrive(4, arrive(ours, 1, 100))
    told = dispatcher.arrive(5, arrive(8, 1, 100))
    shares = (Share(1, 1, "gateway-1"), Share(0, 2, "gateway-0"))
    assert told == [
        *to(1, Assign(0, 0, 0, (theirs,), ROUTE, shares, 2)),
        *to(0, Assign(0, 0, 0, (ours, 8), ROUTE, shares, 2)),
    ]


def test_units_of_a_gateway_that_died_are_forgotten_and_its_late_messages_ignored():
    theirs = numbered(1, 3)
    dispatcher, policy = running()
    dispatcher.gateway_up(2, 1, "gateway-1")
    dispatcher.arrive(3, arrive(theirs, 2, 100))
    dispatcher.arrive(4, arrive(7, 1, 100))
    told = dispatcher.gateway_down(5, 1)
    assert told == [ForWorker(EVERY, GatewayGone(1))]
    assert [call for call in policy.told if call[0] == "cancel"] == [
        ("cancel", theirs),
        ("cancel", theirs + 1),
    ]
    policy.told.clear()
    assert dispatcher.arrive(6, arrive(theirs + 9, 1, 100)) == []
    assert dispatcher.arrive(6, arrive(9, 1, 100, dispatcher=4)) == []
    assert policy.told == []


@pytest.mark.parametrize(("took_us", "told_us"), [(700, 700), (-3, 0)])
def test_the_policy_hears_what_a_transfer_took_before_the_stage_is_over(took_us, told_us):
    """A time below 0 comes of clocks that do not agree."""
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(3, arrive(7, 1, 100))
    policy.told.clear()
    for stage in (0, 1):
        dispatcher.stage_done(6 + stage, msgspec.structs.replace(done(0, stage), transfer_us=took_us))
    calls = [call for call in policy.told if call[0] in ("transferred", "complete")]
    assert calls == [("complete", 6, 0, 0), ("transferred", 7, 0, 1, told_us), ("complete", 7, 0, 1)]


def test_a_plan_on_one_host_has_no_links_to_learn():
    table = two_stage_table()._replace(worker_host=column(0, 0))
    policy = Scripted(NOTHING, NOTHING, NOTHING, dispatch(0, 7))
    dispatcher = of(policy, table=table)
    for worker in (0, 1):
        dispatcher.worker_up(1, worker, "a")
    dispatcher.arrive(3, arrive(7, 1, 100))
    for stage in (0, 1):
        dispatcher.stage_done(6 + stage, done(0, stage))
    assert "transferred" not in {call[0] for call in policy.told}


def test_a_request_that_must_be_alone_leaves_its_batch():
    """The policy puts 7, 8 and 9 together; 8 may be to blame for a failure. The policy's batch is one still."""
    dispatcher, policy = running(NOTHING, NOTHING, dispatch(0, 7, 8, 9))
    dispatcher.arrive(3, arrive(7, 1, 100))
    dispatcher.arrive(4, arrive(8, 1, 100, alone=True))
    told = dispatcher.arrive(5, arrive(9, 1, 100))
    assert [(one.message.batch, one.message.units) for one in told] == [(0, (7, 9)), (1, (8,))]
    policy.told.clear()
    dispatcher.stage_done(6, done(0, 0))
    assert [call for call in policy.told if call[0] == "complete"] == []
    dispatcher.stage_done(7, done(1, 0))
    assert [call for call in policy.told if call[0] == "complete"] == [("complete", 7, 0, 0)]
    # It fails again, alone: its error is final, and the rest of the policy's batch goes on.
    assert dispatcher.stage_failed(8, StageFailed(1, 0, "no")) == to_all(Failed((1,), -1, "no", Again.NEVER))
    dispatcher.stage_done(9, done(0, 1))
    assert [call for call in policy.told if call[0] in ("complete", "abandon")][1:] == [("complete", 9, 0, 1)]
    assert dispatcher.in_flight == 0


def test_every_sample_is_a_unit():
    dispatcher, policy = running()
    dispatcher.arrive(5, arrive(7, 3, 100))
    assert policy.told == [("arrive", 5, 0, unit, 100) for unit in (7, 8, 9)] + [("decide", 5)]


def test_a_drop_takes_the_rest_of_its_request_along():
    dispatcher, policy = running(dispatch(0, 7), Decision((), ((8, 3),), NEVER_US))
    dispatcher.arrive(5, arrive(7, 3, 100))
    policy.told.clear()
    told = dispatcher.arrive(6, arrive(10, 1, 200))
    assert told == to(0, Dropped(0, 8, Outcome.DROPPED_DEADLINE))
    # 7 is on its way, 8 is dropped, so 9 alone is left to be cancelled.
    assert [call for call in policy.told if call[0] == "cancel"] == [("cancel", 9)]


def test_a_cancelled_request_leaves_the_queue_and_what_runs_of_it_runs_on():
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(5, arrive(7, 3, 100))
    policy.told.clear()
    assert dispatcher.cancel(6, Cancel(0, 7)) == to(0, Cancelled(0, 7))
    assert sorted(call for call in policy.told if call[0] == "cancel") == [("cancel", 8), ("cancel", 9)]
    assert dispatcher.in_flight == 1


def test_the_policy_hears_of_every_stage_as_it_is_reported():
    """Reports may overtake each other: those of stages before say nothing new."""
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(5, arrive(7, 1, 100))
    dispatcher.stage_done(6, done(0, 1))
    dispatcher.stage_done(7, done(0, 0))
    assert [call for call in policy.told if call[0] == "complete"] == [("complete", 6, 0, 1)]


@pytest.mark.parametrize(
    ("units", "incomplete", "again"),
    [((7, 8), False, Again.ALONE), ((7,), False, Again.NEVER), ((7,), True, Again.TOGETHER)],
)
def test_a_failed_batch_is_reported_if_it_was_in_flight(units, incomplete, again):
    """Two requests run again alone; one that was alone failed for good, unless the batch was not whole."""
    dispatcher, policy = running(*[NOTHING] * (len(units) - 1), dispatch(0, *units))
    for unit in units:
        dispatcher.arrive(5, arrive(unit, 1, 100))
    failed = StageFailed(0, 0, "no", incomplete)
    assert dispatcher.stage_failed(6, failed) == to_all(Failed((0,), -1, "no", again))
    assert dispatcher.stage_failed(7, failed) == []
    assert ("abandon", 6, 0) in policy.told


def test_a_failure_of_a_batch_of_the_dispatcher_before_is_passed_on():
    """That one died; the gateways know the batch."""
    dispatcher = Dispatcher(1, late_us=0)
    told = dispatcher.stage_failed(6, StageFailed(5, 0, "no"))
    assert told == to_all(Failed((5,), -1, "no", Again.TOGETHER))


def test_a_dead_worker_takes_the_batches_that_the_policy_names():
    dispatcher, policy = running(dispatch(3, 7), lost=(3, 5))
    dispatcher.arrive(5, arrive(7, 1, 100))
    failed = Failed((0,), 0, "died", Again.TOGETHER)
    assert dispatcher.worker_down(8, 0, "died") == to_all(failed, Readiness(0, 0, (False,)))
    assert ("worker_down", 8, 0) in policy.told


def served(stages_done):
    """A dispatcher around the real policy, with one batch of which some stages are over."""
    dispatcher = of(ReservationPolicy(two_stage_table()))
    for worker, endpoint in enumerate("ab"):
        dispatcher.worker_up(1, worker, endpoint)
    (assigned,) = dispatcher.arrive(5, arrive(7, 2, 100_000))
    assert assigned.message.units == (7, 8)
    for stage in range(stages_done):
        dispatcher.stage_done(1_000 * stage + 1_000, done(0, stage, worker=stage))
    return dispatcher


@pytest.mark.parametrize(
    ("worker", "stages_done", "lost"),
    [(0, 0, (0,)), (0, 1, (0,)), (1, 0, (0,)), (1, 1, (0,)), (0, 2, ()), (1, 2, ())],
)
def test_a_dead_worker_takes_what_it_held_or_may_not_have_handed_on(worker, stages_done, lost):
    """Stage 0's worker may die with its output still in a buffer, so until stage 1 is done the batch is lost."""
    dispatcher = served(stages_done)
    assert dispatcher.in_flight == (stages_done < 2)
    told = dispatcher.worker_down(9_000, worker, "died")
    assert told[0].message == Failed(lost, worker, "died", Again.TOGETHER)
    assert dispatcher.in_flight == 0


class TestHanging:
    """Worker 0 gets a batch at 5 us that should take 1 ms; the next stage is worker 1's."""

    def overdue(self):
        dispatcher = served(0)
        due_us = 5 + 1_500
        assert dispatcher.wake_us <= due_us + OVERDUE_US
        assert dispatcher.look_after(due_us + OVERDUE_US - 1) == []
        asked_us = due_us + OVERDUE_US
        assert dispatcher.look_after(asked_us) == [ForWorker(0, Ping())]
        return dispatcher, asked_us

    def silent(self, monkeypatch=None):
        """Worker 0 did not answer in time; with ``monkeypatch`` as if it had company."""
        dispatcher, asked_us = self.overdue()
        if monkeypatch is not None:
            monkeypatch.setattr(ServedPlan, "is_alone", lambda plan, worker: False)
        assert dispatcher.look_after(asked_us + ANSWER_US - 1) == []
        told = dispatcher.look_after(asked_us + ANSWER_US)
        return dispatcher, asked_us + ANSWER_US, told

    def test_no_answer_sends_its_batches_another_way_and_its_host_is_asked(self, monkeypatch):
        dispatcher, _, told = self.silent(monkeypatch)
        assert told[0] == ForEngine(WorkerSilent(0))
        why = f"worker 0 does not answer (no answer to a ping for {ANSWER_US} us)."
        assert told[1].message == Failed((0,), 0, why, Again.TOGETHER)
        assert told[2].message == Readiness(0, 0, (False,))
        assert dispatcher.in_flight == 0

    def test_one_without_company_keeps_its_batches_until_it_is_known_to_hang(self):
        dispatcher, now_us, told = self.silent()
        assert told == [ForEngine(WorkerSilent(0))]
        assert dispatcher.look_after(now_us + ANSWER_US) == []
        assert dispatcher.in_flight == 1
        dispatcher.could_run(0)
        told = dispatcher.look_after(now_us + ANSWER_US)
        why = f"no answer to a ping for {ANSWER_US} us, though it had a core"
        assert told[0] == ForEngine(WorkerHung(0, why))
        assert told[1].message == Failed((0,), 0, f"worker 0 hangs ({why}).", Again.TOGETHER)
        assert dispatcher.in_flight == 0

    def test_one_without_company_that_answers_late_goes_on(self):
        dispatcher, now_us, _ = self.silent()
        assert dispatcher.pong(now_us, Pong(0, 1, now_us - 1)) == []
        dispatcher.could_run(0)
        assert dispatcher.look_after(now_us) == []
        assert dispatcher.look_after(now_us + ANSWER_US) == [ForWorker(0, Ping())]

    def test_who_has_company(self):
        """Workers 0 and 1 are a pool, worker 2 is one by itself."""
        table = make_table([(5_000, [Pipeline(1, [Stage([100], [0, 1]), Stage([100], [0])])])])
        plan = ServedPlan(0, Scripted(), table, 0, first_worker=10)
        for worker in (10, 12):
            plan.up(1, worker, "a")
        assert [plan.is_alone(worker) for worker in (10, 11, 12)] == [True, False, True]
        plan.up(2, 11, "b")
        assert [plan.is_alone(worker) for worker in (10, 11, 12)] == [False, False, True]

    def test_one_that_could_have_answered_hangs_once(self, monkeypatch):
        dispatcher, now_us, _ = self.silent(monkeypatch)
        assert dispatcher.look_after(now_us) == []
        dispatcher.could_run(0)
        why = f"no answer to a ping for {ANSWER_US} us, though it had a core"
        assert dispatcher.look_after(now_us) == [ForEngine(WorkerHung(0, why))]
        dispatcher.could_run(0)
        assert dispatcher.look_after(now_us + 1) == []

    @pytest.mark.parametrize("sign", ["pong", "report"])
    def test_one_that_answers_late_works_again(self, monkeypatch, sign):
        """Its answer counts even if its host has already said that it had a core."""
        dispatcher, now_us, _ = self.silent(monkeypatch)
        dispatcher.could_run(0)
        pong, report = Pong(0, 0, -1), done(0, 0)
        told = dispatcher.pong(now_us, pong) if sign == "pong" else dispatcher.stage_done(now_us, report)
        assert ForGateway(EVERY, Readiness(0, 0, (True,))) in told
        assert dispatcher.look_after(now_us) == []
        (assigned,) = dispatcher.arrive(now_us, arrive(9, 2, now_us + 90_000))
        assert [step.endpoint for step in assigned.message.route] == ["a", "b"]

    @pytest.mark.parametrize("end", ["worker_down", "remove_plan"])
    def test_one_that_ended_while_it_was_silent_is_not_taken_back(self, monkeypatch, end):
        dispatcher, now_us, _ = self.silent(monkeypatch)
        if end == "worker_down":
            dispatcher.worker_down(now_us, 0, "died")
        else:
            dispatcher.remove_plan(0)
        dispatcher.could_run(0)
        assert dispatcher.look_after(now_us) == []
        assert dispatcher.pong(now_us, Pong(0, 0, -1)) == []

    def test_a_slow_worker_that_answers_is_left_alone(self):
        dispatcher, now_us = self.overdue()
        for _ in range(20):
            assert dispatcher.pong(now_us, Pong(0, 1, now_us - 1_000)) == []
            now_us += ANSWER_US
            assert dispatcher.look_after(now_us) == [ForWorker(0, Ping())]

    def test_a_worker_that_computes_for_ever_is_replaced_though_it_answers(self):
        dispatcher, now_us = self.overdue()
        told = dispatcher.pong(now_us + LEAST_RUN_US, Pong(0, 1, now_us - 1))
        assert told[0].message.worker == 0
        assert "a batch runs for" in told[0].message.why

    def test_what_a_batch_waited_for_a_core_is_no_run(self):
        dispatcher, now_us = self.overdue()
        later_us, since_us = now_us + LEAST_RUN_US, now_us - 1
        assert dispatcher.pong(later_us, Pong(0, 1, since_us, waited_us=1)) == []
        assert dispatcher.pong(later_us + 1, Pong(0, 1, since_us, waited_us=1))[0].message.worker == 0

    def test_a_report_is_a_sign_of_life(self):
        dispatcher, asked_us = self.overdue()
        dispatcher.stage_done(asked_us + 1, done(0, 0))
        later_us = asked_us + ANSWER_US
        assert dispatcher.look_after(later_us) == [ForWorker(1, Ping())]

    def test_a_batch_that_an_idle_worker_does_not_know_got_lost(self):
        dispatcher, now_us = self.overdue()
        told = []
        for _ in range(LOST_US // ANSWER_US + 2):
            dispatcher.pong(now_us, Pong(0, 0, -1))
            now_us += ANSWER_US
            told += dispatcher.look_after(now_us)
        (lost,) = [one.message for one in told if isinstance(one, ForGateway)]
        assert lost == Failed((0,), -1, "the batch did not reach worker 0.", Again.TOGETHER)
        assert dispatcher.in_flight == 0


class TestSwitch:
    """Plans of one model each; worker numbers of the later one follow those of the earlier one."""

    def switched(self, carried):
        dispatcher, old = running()
        dispatcher.arrive(3, arrive(7, 1, 1_000))
        new = Scripted()
        dispatcher.add_plan(ServedPlan(1, new, two_stage_table(), 4, first_worker=2))
        dispatcher.worker_up(4, 2, "c")
        dispatcher.worker_up(4, 3, "d")
        old.told.clear()
        new.told.clear()
        return dispatcher, old, new, dispatcher.switch(5, 1, carried)

    def test_what_waits_goes_to_the_new_plan_and_the_old_one_is_drained(self):
        dispatcher, old, new, told = self.switched((0,))
        assert ("cancel", 7) in old.told
        assert ("arrive", 5, 0, 7, 1_000) in new.told
        assert told == [*to_all(Readiness(0, 1, (True,))), ForEngine(Drained(0))]
        # A request that a gateway had told before it heard of the switch.
        dispatcher.arrive(6, arrive(8, 1, 1_000))
        assert ("arrive", 6, 0, 8, 1_000) in new.told

    def test_a_model_that_is_not_carried_over_is_served_until_its_requests_are_answered(self):
        dispatcher, old, new, told = self.switched((None,))
        assert told == to_all(Readiness(0, 1, (True,)))
        old.decisions.append(dispatch(0, 7))
        (assign,) = dispatcher.arrive(6, arrive(8, 1, 1_000))
        assert assign.message.route[0] == RouteStep(0, "a")
        dispatcher.cancel(7, Cancel(0, 8))
        assert dispatcher.stage_done(8, done(0, 1)) == [ForEngine(Drained(0))]
        assert new.told == [("decide", 5), ("decide", 7)]
        # Too late: nobody serves that model any more.
        assert dispatcher.arrive(9, arrive(9, 1, 1_000)) == to(0, Dropped(0, 9, Outcome.DROPPED_EARLY))

    def test_routes_of_the_new_plan_name_its_workers(self):
        dispatcher, _, new, _ = self.switched((0,))
        new.decisions.append(dispatch(0, 7))
        (assign,) = dispatcher.arrive(6, arrive(8, 1, 1_000))
        assert assign.message.route == (RouteStep(2, "c"), RouteStep(3, "d"))
        assert assign.message.epoch == 1


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("arrive", arrive(7, 1, 100, model=1)),
        ("arrive", arrive(7, 1, 100, model=-1)),
        ("arrive", arrive(7, 2**60, 100)),
        ("arrive", arrive(7, 0, 100)),
        ("arrive", arrive(2**63 - 1, 3, 100)),
        ("arrive", arrive(7, 1, NEVER_US)),
        ("stage_done", done(0, 2)),
        ("stage_done", done(0, 0, pipeline=1)),
        ("stage_done", done(-1, 0)),
        ("pong", Pong(2, 0, -1)),
        ("stage_failed", StageFailed(-1, 0, "no")),
    ],
)
def test_messages_that_name_what_is_not_there_are_refused_before_anything_is_done(method, message):
    dispatcher, policy = running()
    with pytest.raises(BadInputError):
        getattr(dispatcher, method)(5, message)
    assert policy.told == []


@pytest.mark.parametrize("worker", [-1, 2, 2**70])
def test_workers_that_are_not_there_are_refused(worker):
    dispatcher, policy = running()
    with pytest.raises(BadInputError, match="worker"):
        dispatcher.worker_up(5, worker, "c")
    with pytest.raises(BadInputError, match="worker"):
        dispatcher.worker_down(5, worker, "died")
    assert policy.told == []


@pytest.mark.parametrize(("now_us", "asked_us"), [(5_000, 5_000), (5_900, 5_000), (6_500, 5_500)])
def test_a_late_timer_decides_as_of_its_moment_but_not_long_ago(now_us, asked_us):
    dispatcher, policy = running(Decision((), (), 5_000))
    dispatcher.arrive(10, arrive(7, 1, 100))
    policy.told.clear()
    dispatcher.catch_up(now_us)
    assert policy.told == [("decide", asked_us)]


def test_what_was_due_is_decided_before_the_next_event():
    dispatcher, policy = running(Decision((), (), 5_000))
    dispatcher.arrive(10, arrive(7, 1, 100))
    policy.told.clear()
    dispatcher.arrive(5_100, arrive(8, 1, 200))
    assert policy.told == [("decide", 5_000), ("arrive", 5_100, 0, 8, 200), ("decide", 5_100)]


def test_a_journal_replays_to_the_same_decisions(tmp_path):
    table = two_stage_table()
    path = tmp_path / "journal"
    file = JournalFile(ReservationPolicy(table, overhead_us=50), path, table, dispatch_us=0, overhead_us=50)
    dispatcher = of(file.policy, late_us=50, table=table)
    for worker, endpoint in enumerate("ab"):
        dispatcher.worker_up(1, worker, endpoint)
    told = dispatcher.arrive(10, arrive(0, 2, 100_010))
    told += dispatcher.arrive(20, arrive(2, 1, 1_000))
    told += dispatcher.catch_up(200_000)
    dispatcher.worker_down(200_000, 1, "died")
    file.close()
    assert [type(one.message) for one in told] == [Assign, Dropped]
    journal = read_journal(path)
    policy = ReservationPolicy(
        journal.table, dispatch_us=journal.dispatch_us, overhead_us=journal.overhead_us
    )
    assert replay(policy, journal.events) == journal.decisions
    assert sum(len(decision.dispatches) for decision in journal.decisions) == 1


def test_a_journal_that_a_kill_cut_off_replays_as_far_as_it_goes(tmp_path):
    """Cut at every byte after the header: what is read replays to the decisions that are there."""
    table = two_stage_table()
    path, cut = tmp_path / "journal", tmp_path / "cut"
    file = JournalFile(ReservationPolicy(table, overhead_us=50), path, table, dispatch_us=0, overhead_us=50)
    dispatcher = of(file.policy, late_us=50, table=table)
    for worker, endpoint in enumerate("ab"):
        dispatcher.worker_up(1, worker, endpoint)
    dispatcher.arrive(10, arrive(0, 2, 100_010))
    dispatcher.catch_up(200_000)
    file.close()
    content = path.read_bytes()
    found = set()
    for length in range(content.index(b"\n") + 1, len(content) + 1):
        cut.write_bytes(content[:length])
        journal = read_journal(cut)
        policy = ReservationPolicy(journal.table, overhead_us=journal.overhead_us)
        assert replay(policy, journal.events) == journal.decisions
        found.add(len(journal.decisions))
    assert found == set(range(len(read_journal(path).decisions) + 1))


HEADER = {
    "version": 4,
    "dispatch_us": 0,
    "overhead_us": 0,
    "table": {name: values.tolist() for name, values in two_stage_table()._asdict().items()},
}


def journal_text(header=None, rows=(), **columns):
    """A journal's text, with columns of its table replaced."""
    header = header or HEADER
    lines = [header | {"table": header["table"] | columns}, *rows]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "\x00",
        journal_text() + "\n{",
        journal_text(rows=[7]),
        journal_text(rows=[["decided", 1]]),
        journal_text(HEADER | {"version": 5}),
        journal_text(worker_host=[0, -1]),
        journal_text(worker_host=[0, 2**70]),
        journal_text(worker_host=[0, 0.5]),
        journal_text(worker_host=[0, None]),
        journal_text(stage_offsets=[0, 9]),
        journal_text(latency_us=[[0, 1, 1], [0, 1]]),
        journal_text(unknown=[0]),
    ],
)
def test_a_file_that_is_no_journal_is_refused(tmp_path, text):
    path = tmp_path / "journal"
    path.write_text(text)
    with pytest.raises(BadInputError, match="journal"):
        read_journal(path)


def test_a_journal_of_version_2_is_read(tmp_path):
    """It had no ``transferred``."""
    path = tmp_path / "journal"
    path.write_text(json.dumps(HEADER | {"version": 2}) + "\n")
    assert read_journal(path).events == []


def test_a_journal_of_version_1_is_read(tmp_path):
    """It called the offsets ``*_first``."""
    columns = {name.replace("_offsets", "_first"): values for name, values in HEADER["table"].items()}
    path = tmp_path / "journal"
    path.write_text(json.dumps(HEADER | {"version": 1, "table": columns}) + "\n")
    assert read_journal(path).table.stage_offsets.tolist() == [0, 2]
