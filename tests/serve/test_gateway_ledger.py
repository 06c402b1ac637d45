"""Requests are taken apart and put together again, and each is settled exactly once."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings

from penstock.record import Outcome
from penstock.serve.gateway.ledger import MOST_RUNS, OVERDUE_US, Ledger, Waiting
from penstock.serve.messages import (
    Again,
    Assign,
    BatchHeader,
    Cancel,
    Cancelled,
    Dropped,
    Failed,
    RouteStep,
    Share,
    numbered,
)
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport import Group

ROUTE = (RouteStep(0, "a"), RouteStep(3, "b"))


class Desk:
    """A ledger, its requests and their answers."""

    def __init__(self):
        self.settled = []
        self.retried = []
        self.ledger = Ledger(
            lambda request, now_us: self.settled.append((request, now_us)), on_retried=self.retried.append
        )
        self.ledger.dispatcher_up(0, 0)
        self.answers = {}

    def admit(self, samples, deadline_us=100):
        first = self.ledger.admit(samples)
        values = np.arange(first, first + samples)
        answers = self.answers.setdefault(first, [])
        request = Waiting(
            model=0,
            inputs={"x": Tensor("x", "INT64", values)},
            first=first,
            samples=samples,
            arrival_us=0,
            deadline_us=deadline_us,
            settle=answers.append,
        )
        self.ledger.add(request)
        return request

    def ship(self, batch, units):
        shares = (Share(0, len(units), ""),)
        runs = self.ledger.assign(Assign(0, batch, 0, tuple(units), ROUTE, shares, 1_000), 1)
        rows = [run.request.inputs["x"].array[run.offset : run.offset + run.rows] for run in runs]
        return np.concatenate(rows)

    def bring_back(self, batch, array, now_us=10):
        header = BatchHeader(0, batch, 0, ROUTE, 2, (), 0, len(array), 0, 5, (len(array),), ())
        self.ledger.result(header, [Group(len(array), [Tensor("y", "INT64", array)])], now_us)

    def outcome(self, request):
        return [settled.outcome for settled, _ in self.settled if settled is request]


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=6), st.data())
def test_any_batching_gives_every_request_its_own_rows(sizes, data):
    desk = Desk()
    requests = [desk.admit(size) for size in sizes]
    units = data.draw(st.permutations(range(sum(sizes))))
    batches = {}
    while units:
        size = data.draw(st.integers(1, len(units)))
        batch, units = units[:size], units[size:]
        batches[len(batches)] = desk.ship(len(batches), batch)
        np.testing.assert_array_equal(batches[len(batches) - 1], batch)
    for batch in data.draw(st.permutations(list(batches))):
        desk.bring_back(batch, batches[batch] * 10)
    for request in requests:
        ((output,),) = desk.answers[request.first]
        wanted = [unit * 10 for unit in range(request.first, request.first + request.samples)]
        np.testing.assert_array_equal(output.array, wanted)
        assert desk.outcome(request) == [Outcome.MET]
    assert desk.ledger.in_flight == 0


def test_a_late_result_is_given_and_counted_late():
    desk = Desk()
    request = desk.admit(1, deadline_us=9)
    desk.bring_back(0, desk.ship(0, [0]), now_us=10)
    assert desk.outcome(request) == [Outcome.LATE]
    assert isinstance(desk.answers[0][0], tuple)


def test_a_drop_says_what_is_doubtful_of_the_models_latencies():
    desk = Desk()
    request = desk.admit(1)
    request.doubt = "it takes longer"
    desk.ledger.drop(Dropped(0, 0, Outcome.DROPPED_DEADLINE), 5)
    assert str(desk.answers[0][0]) == (
        "dropped after 5 us: the deadline of 100 us can no longer be met. Note: it takes longer."
    )


def test_a_dropped_sample_answers_the_whole_request_once():
    desk = Desk()
    request = desk.admit(3)
    rows = desk.ship(0, [0])
    desk.ledger.drop(Dropped(0, 1, Outcome.DROPPED_EARLY), 5)
    assert desk.ledger.in_flight == 1  # sample 0 is still with a worker
    desk.bring_back(0, rows)
    assert desk.ledger.in_flight == 0
    assert desk.outcome(request) == [Outcome.DROPPED_EARLY]
    (answer,) = desk.answers[0]
    assert isinstance(answer, ProtocolError)
    assert answer.http_status == 504


def test_requests_of_a_lost_batch_wait_again_and_its_late_result_is_ignored():
    desk = Desk()
    one, other, third = desk.admit(1), desk.admit(1), desk.admit(1)
    rows = desk.ship(0, [0, 1])
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((0,), -1, "died", Again.TOGETHER), 5)
    assert [(m.request, m.first, m.samples, m.alone) for m in desk.ledger.messages] == [
        (0, 0, 1, False),
        (1, 1, 1, False),
    ]
    desk.bring_back(0, rows)
    assert desk.settled == []
    desk.bring_back(1, desk.ship(1, [0]))
    desk.bring_back(2, desk.ship(2, [1]))
    assert desk.outcome(one) == desk.outcome(other) == [Outcome.MET]
    assert desk.outcome(third) == []
    assert [len(desk.answers[first]) for first in range(3)] == [1, 1, 0]


def test_only_the_units_that_were_lost_wait_again():
    """Of five samples 0 came back, 1 and 4 are lost, 2 waits, 3 is with another worker."""
    desk = Desk()
    request = desk.admit(5)
    desk.bring_back(0, desk.ship(0, [0]))
    desk.ship(1, [1, 4])
    rows = desk.ship(2, [3])
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((1,), -1, "died", Again.TOGETHER), 5)
    assert [(m.request, m.first, m.samples) for m in desk.ledger.messages] == [(0, 1, 1), (0, 4, 1)]
    desk.bring_back(3, desk.ship(3, [1, 2, 4]))
    assert desk.outcome(request) == []
    desk.bring_back(2, rows)
    ((output,),) = desk.answers[0]
    np.testing.assert_array_equal(output.array, range(5))
    assert desk.ledger.in_flight == 0


def test_requests_of_a_batch_that_failed_run_again_alone_and_then_never():
    desk = Desk()
    bad, good = desk.admit(1), desk.admit(1)
    desk.ship(0, [0, 1])
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((0,), -1, "refused", Again.ALONE), 5)
    assert [m.alone for m in desk.ledger.messages] == [True, True]
    desk.ship(1, [0])
    desk.bring_back(2, desk.ship(2, [1]))
    desk.ledger.fail(Failed((1,), -1, "refused", Again.NEVER), 6)
    assert desk.outcome(good) == [Outcome.MET]
    assert desk.outcome(bad) == [Outcome.ERROR]
    assert (desk.answers[0][0].http_status, str(desk.answers[0][0])) == (500, "refused")
    assert desk.ledger.in_flight == 0


def test_a_request_whose_batches_die_is_alone_the_last_time():
    """It may be what kills the workers: two batches die with it, the third is its own, and that was the last."""
    desk = Desk()
    request = desk.admit(1)
    alone = []
    for batch in range(MOST_RUNS):
        desk.ship(batch, [0])
        desk.ledger.messages.clear()
        desk.ledger.fail(Failed((batch,), 0, "worker 0 died.", Again.TOGETHER), 5)
        alone += [m.alone for m in desk.ledger.messages]
    assert alone == [False, True]
    assert desk.outcome(request) == [Outcome.ERROR]
    assert "failed 3 times" in str(desk.answers[0][0])
    assert desk.ledger.in_flight == 0


def test_an_answer_for_good_takes_back_what_waits_of_the_request():
    desk = Desk()
    desk.admit(2)
    desk.ship(0, [0])
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((0,), -1, "refused", Again.NEVER), 5)
    assert desk.ledger.messages == [Cancel(0, 0)]
    assert desk.ledger.in_flight == 1  # an assignment of unit 1 may be on its way
    desk.ledger.cancelled(Cancelled(0, 0), 6)
    assert desk.ledger.in_flight == 0
    assert len(desk.answers[0]) == 1


def test_a_drop_after_a_loss_says_why():
    desk = Desk()
    desk.admit(1)
    desk.ship(0, [0])
    desk.ledger.fail(Failed((0,), 0, "worker 0 died.", Again.TOGETHER), 5)
    desk.ledger.drop(Dropped(0, 0, Outcome.DROPPED_DEADLINE), 6)
    (error,) = desk.answers[0]
    assert error.http_status == 503
    assert str(error) == "worker 0 died. No other route meets the deadline."


def test_what_was_told_again_when_a_sample_is_dropped_stays_known_until_it_is_taken_back():
    """The drop of sample 1 and the news of sample 0 cross: the dispatcher may just be sending sample 0."""
    desk = Desk()
    request = desk.admit(2)
    desk.ship(0, [0])
    desk.ledger.fail(Failed((0,), 0, "worker 0 died.", Again.TOGETHER), 5)
    desk.ledger.messages.clear()
    desk.ledger.drop(Dropped(0, 1, Outcome.DROPPED_DEADLINE), 6)
    assert desk.ledger.messages == [Cancel(0, 0)]
    rows = desk.ship(1, [0])
    desk.ledger.cancelled(Cancelled(0, 0), 7)
    assert desk.ledger.in_flight == 1
    desk.bring_back(1, rows)
    assert desk.ledger.in_flight == 0
    assert desk.outcome(request) == [Outcome.ERROR]


def test_a_dead_last_worker_loses_what_did_not_come_back():
    desk = Desk()
    one, other = desk.admit(1), desk.admit(1)
    desk.bring_back(0, desk.ship(0, [0]))
    desk.ship(1, [1])
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((), 3, "died", Again.TOGETHER), 5)
    assert desk.outcome(one) == [Outcome.MET]
    assert [m.first for m in desk.ledger.messages] == [1]
    assert desk.outcome(other) == []


def test_a_dead_first_worker_is_the_dispatchers_to_judge():
    desk = Desk()
    request = desk.admit(1)
    rows = desk.ship(0, [0])
    desk.ledger.fail(Failed((), 0, "died", Again.TOGETHER), 5)
    desk.bring_back(0, rows)
    assert desk.outcome(request) == [Outcome.MET]


class TestNewDispatcher:
    """Dispatcher 0 dies; 1 takes its place."""

    def test_it_is_told_what_waits_and_what_was_sent_may_come_home(self):
        desk = Desk()
        sent, waits = desk.admit(1), desk.admit(2)
        rows = desk.ship(0, [0])
        desk.ledger.dispatcher_up(1, 0)
        assert [(m.dispatcher, m.first, m.samples) for m in desk.ledger.messages] == [(1, 1, 2)]
        desk.bring_back(0, rows)
        assert desk.outcome(sent) == [Outcome.MET]
        assert desk.outcome(waits) == []

    def test_its_workers_deaths_count_for_batches_that_it_does_not_know(self):
        desk = Desk()
        desk.admit(1)
        desk.ship(0, [0])
        desk.ledger.dispatcher_up(1, 0)
        desk.ledger.messages.clear()
        desk.ledger.fail(Failed((), 0, "died", Again.TOGETHER), 5)
        assert [m.first for m in desk.ledger.messages] == [0]

    def test_what_does_not_come_home_waits_again(self):
        desk = Desk()
        desk.admit(1)
        desk.ship(0, [0])  # should be back at 1,000
        desk.ledger.lose_overdue(10**9)
        desk.ledger.dispatcher_up(1, 0)
        desk.ledger.messages.clear()
        desk.ledger.lose_overdue(1_000 + OVERDUE_US)
        assert desk.ledger.messages == []
        desk.ledger.lose_overdue(1_001 + OVERDUE_US)
        assert [m.first for m in desk.ledger.messages] == [0]

    def test_an_assignment_of_the_old_one_is_ignored(self):
        desk = Desk()
        desk.admit(1)
        desk.ledger.dispatcher_up(1, 0)
        assert desk.ledger.assign(Assign(0, 0, 0, (0,), ROUTE, (Share(0, 1, ""),), 9), 5) == ()
        assert [m.first for m in desk.ledger.messages] == [0]


def test_before_there_is_a_dispatcher_requests_wait():
    ledger = Ledger(lambda request, now_us: None, 3)
    first = ledger.admit(2)
    ledger.add(Waiting(0, {}, first, 2, 0, 9, lambda answer: None))
    assert first == numbered(3, 0)
    assert ledger.messages == []
    ledger.dispatcher_up(7, 0)
    assert [(m.dispatcher, m.request, m.first, m.samples) for m in ledger.messages] == [(7, first, first, 2)]


def test_a_client_that_left_costs_no_run_if_its_request_still_waits():
    desk = Desk()
    request = desk.admit(2)
    rows = desk.ship(0, [0])
    desk.ledger.messages.clear()
    desk.ledger.cancel(request, 4)
    assert desk.ledger.messages == [Cancel(0, 0)]
    desk.ledger.cancelled(Cancelled(0, 0), 5)
    desk.bring_back(0, rows)
    assert desk.outcome(request) == [Outcome.CANCELLED]
    assert desk.ledger.in_flight == 0


def test_a_client_that_left_after_its_deadline_had_a_reason():
    desk = Desk()
    request = desk.admit(2)
    desk.ledger.cancel(request, request.deadline_us + 1)
    desk.ledger.cancelled(Cancelled(0, 0), request.deadline_us + 2)
    assert desk.outcome(request) == [Outcome.DROPPED_DEADLINE]


def test_giving_up_answers_once_and_keeps_the_units_for_the_dispatcher():
    desk = Desk()
    request = desk.admit(2)
    error = ProtocolError(500, "overdue")
    for _ in range(2):
        desk.ledger.give_up(lambda waiting: True, error, 50)
    rows = desk.ship(0, [0, 1])  # an assignment that crossed
    desk.bring_back(0, rows)
    assert desk.answers[0] == [error]
    assert desk.outcome(request) == [Outcome.ERROR]
    assert desk.ledger.in_flight == 0


def test_a_lost_batch_counts_as_retried_once_and_only_if_somebody_waits_again():
    desk = Desk()
    one, other = desk.admit(2), desk.admit(1)
    desk.ship(0, [0, 2])
    desk.ship(1, [1])
    desk.ledger.fail(Failed((0, 1), -1, "it died.", Again.TOGETHER), 5)
    assert desk.retried == [one, one]
    desk.ship(2, [2])
    desk.ledger.fail(Failed((2,), -1, "it cannot run.", Again.NEVER), 5)
    assert desk.retried == [one, one]
    assert desk.outcome(other) == [Outcome.ERROR]
