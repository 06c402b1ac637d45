"""Requests are taken apart and put together again, and each is settled exactly once."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given

from penstock.record import Outcome
from penstock.serve.gateway.ledger import Ledger, Waiting
from penstock.serve.messages import Assign, BatchHeader, Dropped, Failed, Hop
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import Tensor

ROUTE = (Hop(0, "a"), Hop(3, "b"))


class Desk:
    """A ledger, its requests and their answers."""

    def __init__(self):
        self.settled = []
        self.ledger = Ledger(lambda request, now_us: self.settled.append((request, now_us)))
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
        runs = self.ledger.assign(Assign(batch, 0, tuple(units), ROUTE), 1)
        rows = [run.request.inputs["x"].array[run.offset : run.offset + run.rows] for run in runs]
        return np.concatenate(rows)

    def bring_back(self, batch, array, now_us=10):
        header = BatchHeader(batch, 0, ROUTE, 2, len(array), 0, 5, (len(array),), ())
        self.ledger.result(header, [Tensor("y", "INT64", array)], now_us)

    def outcome(self, request):
        return [settled.outcome for settled, _ in self.settled if settled is request]


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


def test_a_dropped_sample_answers_the_whole_request_once():
    desk = Desk()
    request = desk.admit(3)
    rows = desk.ship(0, [0])
    desk.ledger.drop(Dropped(1, Outcome.DROPPED_EARLY), 5)
    assert desk.ledger.in_flight == 1  # sample 0 is still with a worker
    desk.bring_back(0, rows)
    assert desk.ledger.in_flight == 0
    assert desk.outcome(request) == [Outcome.DROPPED_EARLY]
    (answer,) = desk.answers[0]
    assert isinstance(answer, ProtocolError)
    assert answer.http_status == 504


def test_a_failed_batch_fails_all_its_requests_and_its_late_result_is_ignored():
    desk = Desk()
    one, other, third = desk.admit(1), desk.admit(1), desk.admit(1)
    rows = desk.ship(0, [0, 1])
    desk.ledger.fail(Failed((0,), -1, "refused"), 5)
    desk.bring_back(0, rows)
    assert desk.outcome(one) == desk.outcome(other) == [Outcome.ERROR]
    assert desk.outcome(third) == []
    assert [len(desk.answers[first]) for first in range(3)] == [1, 1, 0]


def test_a_dead_last_worker_loses_what_did_not_come_back():
    desk = Desk()
    one, other = desk.admit(1), desk.admit(1)
    desk.bring_back(0, desk.ship(0, [0]))
    desk.ship(1, [1])
    desk.ledger.fail(Failed((), 3, "died"), 5)
    assert desk.outcome(one) == [Outcome.MET]
    assert desk.outcome(other) == [Outcome.ERROR]
    assert desk.answers[1][0].http_status == 500


def test_a_dead_first_worker_is_the_dispatchers_to_judge():
    desk = Desk()
    request = desk.admit(1)
    rows = desk.ship(0, [0])
    desk.ledger.fail(Failed((), 0, "died"), 5)
    desk.bring_back(0, rows)
    assert desk.outcome(request) == [Outcome.MET]


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
