"""The books around the policy, with a policy that does as it is told and a clock set by hand."""

from __future__ import annotations

import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.errors import BadInputError
from penstock.record import Outcome
from penstock.schedule.journal import replay
from penstock.schedule.policy import Decision, Dispatch
from penstock.schedule.reservation import ReservationPolicy
from penstock.schedule.table import DispatchTable
from penstock.serve.dispatcher.core import Dispatcher
from penstock.serve.dispatcher.journal import JournalFile, read_journal
from penstock.serve.messages import Arrive, Assign, Dropped, Failed, Hop, Readiness, StageDone, StageFailed
from penstock.serve.rows import BatchRows
from penstock.serve.spec import ServerSpec, StageSpec, plain_table
from penstock.units import NEVER_US

LATE_US = 1_000


def column(*values):
    return np.array(values, dtype=np.int64)


def two_stage_table():
    """One model, one pipeline of two stages with one worker each; batch 2."""
    rows = np.array([[0, 1_000, 1_500]] * 2)
    return DispatchTable(
        slo_us=column(100_000),
        pipeline_first=column(0, 1),
        stage_first=column(0, 2),
        worker_first=column(0, 1, 2),
        pipeline_batch=column(2),
        latency_us=rows,
        p99_us=rows,
        transfer_us=np.array([[0, 0, 0], [0, 10, 20]]),
        worker_host=column(0, 1),
        worker_device=column(0, 1),
    )


class Scripted:
    """Gives the decisions it was handed, one a call, then waits forever; notes what it is told."""

    def __init__(self, *decisions):
        self.decisions = list(decisions)
        self.told = []

    def decide(self, now_us):
        self.told.append(("decide", now_us))
        return self.decisions.pop(0) if self.decisions else Decision((), (), NEVER_US)

    def cancel(self, request):
        self.told.append(("cancel", request))
        return True

    def __getattr__(self, name):
        return lambda *arguments: self.told.append((name, *arguments))


NOTHING = Decision((), (), NEVER_US)


def dispatch(batch, *units):
    return Decision((Dispatch(batch, 0, 0, units, (0, 1), (0, 0), (1, 2)),), (), NEVER_US)


def running(*decisions):
    """A dispatcher whose two workers are up."""
    policy = Scripted(NOTHING, NOTHING, *decisions)
    dispatcher = Dispatcher(policy, two_stage_table(), 0, late_us=LATE_US)
    dispatcher.worker_up(1, 0, "a")
    told = dispatcher.worker_up(1, 1, "b")
    assert told == [Readiness((True,), (1, 1))]
    policy.told.clear()
    return dispatcher, policy


def test_not_ready_before_every_stage_has_a_worker():
    dispatcher = Dispatcher(Scripted(), two_stage_table(), 0, late_us=0)
    assert dispatcher.worker_up(1, 0, "a") == [Readiness((False,), (1, 0))]


def test_a_stage_is_ready_while_its_pool_has_any_worker():
    """Both stages on one pool of two: either worker alone serves the model."""
    table = two_stage_table()._replace(stage_pool=column(0, 0))
    dispatcher = Dispatcher(Scripted(), table, 0, late_us=0)
    assert dispatcher.worker_up(1, 1, "b") == [Readiness((True,), (1, 1))]
    assert dispatcher.worker_up(2, 0, "a") == [Readiness((True,), (2, 2))]
    assert dispatcher.worker_down(3, 1, "died")[1] == Readiness((True,), (1, 1))


def test_rows_say_what_ran_whoever_ran_it(tmp_path):
    """Worker 0 is planned for the first model, and runs a batch of the other's pipeline, which is its first."""
    stages = [StageSpec(model, 0, (0, 1), "emulated", (), (), (), (0, 1)) for model in (0, 1)]
    table = plain_table(make_table([(9, [Pipeline(1, [Stage([1], [0])])])] * 2))
    spec = ServerSpec((), tuple(stages), ((0, 1), (0, 1)), table)
    rows = BatchRows(spec)
    rows.add(StageDone(5, 1, 0, 0, 1, 10, 20, 30, 4))
    rows.save(tmp_path)
    with np.load(tmp_path / "batches.npz") as columns:
        found = {name: columns[name].tolist() for name in ("batch", "model", "pipeline", "stage", "worker")}
    assert found == {"batch": [5], "model": [1], "pipeline": [0], "stage": [0], "worker": [0]}


def test_a_dispatch_becomes_a_route():
    dispatcher, _ = running(dispatch(0, 7))
    told = dispatcher.arrive(5, Arrive(0, 7, 1, 100))
    assert told == [Assign(0, 0, (7,), (Hop(0, "a"), Hop(1, "b")))]
    assert dispatcher.in_flight == 1


def test_every_sample_is_a_unit():
    dispatcher, policy = running()
    dispatcher.arrive(5, Arrive(0, 7, 3, 100))
    assert policy.told == [("arrive", 5, 0, unit, 100) for unit in (7, 8, 9)] + [("decide", 5)]


def test_a_drop_takes_the_rest_of_its_request_along():
    dispatcher, policy = running(dispatch(0, 7), Decision((), ((8, 3),), NEVER_US))
    dispatcher.arrive(5, Arrive(0, 7, 3, 100))
    policy.told.clear()
    told = dispatcher.arrive(6, Arrive(0, 10, 1, 200))
    assert told == [Dropped(8, Outcome.DROPPED_DEADLINE)]
    # 7 is on its way, 8 is dropped, so 9 alone is left to be cancelled.
    assert [call for call in policy.told if call[0] == "cancel"] == [("cancel", 9)]


def test_a_batch_ends_with_its_last_stage():
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(5, Arrive(0, 7, 1, 100))
    dispatcher.stage_done(6, StageDone(0, 0, 0, 0, 1, 5, 5, 6, 0))
    assert dispatcher.in_flight == 1
    dispatcher.stage_done(7, StageDone(0, 0, 1, 1, 1, 6, 6, 7, 0))
    assert dispatcher.in_flight == 0
    assert ("complete", 6, 0, 0) in policy.told
    assert ("complete", 7, 0, 1) in policy.told


def test_reports_that_overtake_each_other_reach_the_policy_in_order():
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(5, Arrive(0, 7, 1, 100))
    dispatcher.stage_done(6, StageDone(0, 0, 1, 1, 1, 5, 5, 6, 0))
    dispatcher.stage_done(7, StageDone(0, 0, 0, 0, 1, 5, 5, 6, 0))
    completions = [call for call in policy.told if call[0] == "complete"]
    assert completions == [("complete", 6, 0, 0), ("complete", 6, 0, 1)]
    assert dispatcher.in_flight == 0


def test_a_failed_batch_is_reported_once():
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(5, Arrive(0, 7, 1, 100))
    assert dispatcher.stage_failed(6, StageFailed(0, 0, "no")) == [Failed((0,), -1, "no")]
    assert dispatcher.stage_failed(7, StageFailed(0, 0, "no")) == []
    assert ("abandon", 6, 0) in policy.told


@pytest.mark.parametrize(
    ("worker", "stages_done", "lost"),
    [(0, 0, (0,)), (0, 1, (0,)), (1, 0, (0,)), (1, 1, (0,))],
)
def test_a_dead_worker_takes_what_it_held_or_may_not_have_handed_on(worker, stages_done, lost):
    """Stage 0's worker may die with its output still in a buffer, so until stage 1 is done the batch is lost."""
    dispatcher, policy = running(dispatch(0, 7))
    dispatcher.arrive(5, Arrive(0, 7, 1, 100))
    for stage in range(stages_done):
        dispatcher.stage_done(6, StageDone(0, 0, stage, stage, 1, 5, 5, 6, 0))
    told = dispatcher.worker_down(8, worker, "died")
    up = (0, 1) if worker == 0 else (1, 0)
    assert told == [Failed(lost, worker, "died"), Readiness((False,), up)]
    assert ("worker_down", 8, worker) in policy.told
    assert dispatcher.in_flight == 0


def test_finished_batches_are_left_to_the_gateway():
    dispatcher, _ = running(dispatch(0, 7))
    dispatcher.arrive(5, Arrive(0, 7, 1, 100))
    for stage in range(2):
        dispatcher.stage_done(6, StageDone(0, 0, stage, stage, 1, 5, 5, 6, 0))
    assert dispatcher.worker_down(8, 1, "died")[0] == Failed((), 1, "died")


@pytest.mark.parametrize(("now_us", "asked_us"), [(5_000, 5_000), (5_900, 5_000), (6_500, 5_500)])
def test_a_late_timer_decides_as_of_its_moment_but_not_long_ago(now_us, asked_us):
    dispatcher, policy = running(Decision((), (), 5_000))
    dispatcher.arrive(10, Arrive(0, 7, 1, 100))
    policy.told.clear()
    dispatcher.catch_up(now_us)
    assert policy.told == [("decide", asked_us)]


def test_what_was_due_is_decided_before_the_next_event():
    dispatcher, policy = running(Decision((), (), 5_000))
    dispatcher.arrive(10, Arrive(0, 7, 1, 100))
    policy.told.clear()
    dispatcher.arrive(5_100, Arrive(0, 8, 1, 200))
    assert policy.told == [("decide", 5_000), ("arrive", 5_100, 0, 8, 200), ("decide", 5_100)]


def test_a_journal_replays_to_the_same_decisions(tmp_path):
    table = two_stage_table()
    path = tmp_path / "journal"
    file = JournalFile(ReservationPolicy(table, overhead_us=50), path, table, dispatch_us=0, overhead_us=50)
    dispatcher = Dispatcher(file.policy, table, 0, late_us=50)
    for worker, endpoint in enumerate("ab"):
        dispatcher.worker_up(1, worker, endpoint)
    told = dispatcher.arrive(10, Arrive(0, 0, 2, 100_010))
    told += dispatcher.arrive(20, Arrive(0, 2, 1, 1_000))
    told += dispatcher.catch_up(200_000)
    dispatcher.worker_down(200_000, 1, "died")
    file.close()
    assert [type(message) for message in told] == [Assign, Dropped]
    journal = read_journal(path)
    policy = ReservationPolicy(
        journal.table, dispatch_us=journal.dispatch_us, overhead_us=journal.overhead_us
    )
    assert replay(policy, journal.events) == journal.decisions
    assert sum(len(decision.dispatches) for decision in journal.decisions) == 1


def test_a_file_that_is_no_journal_is_refused(tmp_path):
    path = tmp_path / "journal"
    path.write_text("{}\n")
    with pytest.raises(BadInputError, match="cannot be read as a journal"):
        read_journal(path)
