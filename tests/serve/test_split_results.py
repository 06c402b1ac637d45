"""A gateway's share of a split batch: results come in parts, and what is lost is what did not come."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np
from hypothesis import given, settings
from test_gateway_ledger import Desk

from penstock.record import Outcome
from penstock.serve.gateway.shipped import cut_runs
from penstock.serve.gateway.waiting import Run
from penstock.serve.hops.pieces import lot_pieces, overlaps
from penstock.serve.messages import Again, Assign, BatchHeader, Failed, RouteStep, Share, Split
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport import Group

OTHER = 3
"""A gateway that has rows before those of gateway 0."""


class SplitDesk(Desk):
    """Its batches have ``before`` rows of another gateway first, and the last stage has ``count`` pieces.

    Piece p of the last stage runs on worker 10 + p.
    """

    def __init__(self, count, before=0):
        super().__init__()
        self.count, self.before = count, before

    def ship(self, batch, units):
        total = self.before + len(units)
        shares = [Share(OTHER, self.before, "")] if self.before else []
        self.shares = (*shares, Share(0, len(units), ""))
        self.pieces = lot_pieces((1, self.count), total, 0, total)
        route = (RouteStep(0, ""), *(RouteStep(10 + piece, "") for piece in range(self.count)))
        message = Assign(0, batch, 0, tuple(units), route, self.shares, 1_000, self.pieces)
        runs = self.ledger.assign(message, 1)
        rows = [run.request.inputs["x"].array[run.offset : run.offset + run.rows] for run in runs]
        return np.concatenate(rows)

    def parts(self, rows):
        """By piece, the rows of this gateway that it brings."""
        found = overlaps(self.before, self.before + len(rows), self.pieces[1])
        return {one.place: rows[one.first - self.before : one.stop - self.before] for one in found}

    def bring_part(self, batch, piece, array, now_us=10):
        header = BatchHeader(
            epoch=0,
            batch=batch,
            pipeline=0,
            route=(),
            stage=2,
            shares=self.shares,
            gateway=0,
            size=len(array),
            sent_us=0,
            compute_us=5 + piece,
            parts=(len(array),),
            tensors=(),
            split=Split(self.pieces, sender=piece),
        )
        named = self.ledger.requests_of(header)
        self.ledger.result(header, [Group(len(array), [Tensor("y", "INT64", array)])], now_us)
        return named


@settings(deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.integers(1, 4), st.integers(0, 5), st.data())
def test_parts_in_any_order_give_every_request_its_own_rows(sizes, count, before, data):
    desk = SplitDesk(count, before)
    requests = [desk.admit(size) for size in sizes]
    units = data.draw(st.permutations(range(sum(sizes))))
    parts = desk.parts(desk.ship(0, units))
    for piece in data.draw(st.permutations(list(parts))):
        assert desk.ledger.any_of(0)
        desk.bring_part(0, piece, parts[piece] * 10)
        assert desk.bring_part(0, piece, parts[piece] * 77) == []  # nothing comes twice
    for request in requests:
        ((output,),) = desk.answers[request.first]
        wanted = [unit * 10 for unit in range(request.first, request.first + request.samples)]
        np.testing.assert_array_equal(output.array, wanted)
        assert desk.outcome(request) == [Outcome.MET]
    assert desk.ledger.in_flight == 0
    assert not desk.ledger.any_of(0)


def test_a_part_names_its_own_requests_and_answers_them_at_once():
    desk = SplitDesk(2)
    one, other = desk.admit(1), desk.admit(1)
    parts = desk.parts(desk.ship(0, [0, 1]))
    assert desk.bring_part(0, 1, parts[1]) == [other]
    assert (desk.outcome(one), desk.outcome(other)) == ([], [Outcome.MET])
    assert other.compute_us == 6


def test_of_a_lost_batch_what_did_not_come_waits_again():
    """Request 0 has samples in both pieces, request 3 in the second one only."""
    desk = SplitDesk(2)
    torn, later = desk.admit(3), desk.admit(1)
    parts = desk.parts(desk.ship(0, [0, 1, 2, 3]))
    desk.bring_part(0, 0, parts[0] * 10)
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((0,), -1, "worker 11 died.", Again.TOGETHER), 11)
    told = [(message.first, message.samples) for message in desk.ledger.messages]
    assert sorted(told) == [(2, 1), (3, 1)]
    assert desk.bring_part(0, 1, parts[1] * 77) == []  # too late: they wait again
    parts = desk.parts(desk.ship(1, [2, 3]))
    for piece, rows in parts.items():
        desk.bring_part(1, piece, rows * 10)
    ((output,),) = desk.answers[torn.first]
    np.testing.assert_array_equal(output.array, [0, 10, 20])
    assert (desk.outcome(torn), desk.outcome(later)) == ([Outcome.MET], [Outcome.MET])
    assert (torn.losses, later.losses) == (1, 1)


def test_a_dead_worker_of_the_last_stage_loses_what_it_had_not_brought():
    """The dispatcher may know that its piece was done, and not that the result never came."""
    desk = SplitDesk(2)
    desk.admit(2)
    parts = desk.parts(desk.ship(0, [0, 1]))
    desk.bring_part(0, 0, parts[0])
    desk.ledger.messages.clear()
    desk.ledger.fail(Failed((), 10, "worker 10 died.", Again.TOGETHER), 11)
    assert desk.ledger.messages == []  # its part is here
    desk.ledger.fail(Failed((), 11, "worker 11 died.", Again.TOGETHER), 12)
    assert [(message.first, message.samples) for message in desk.ledger.messages] == [(1, 1)]


def test_a_part_with_too_few_samples_is_an_error_for_its_requests_only():
    desk = SplitDesk(2)
    one, other = desk.admit(1), desk.admit(2)
    parts = desk.parts(desk.ship(0, [0, 1, 2]))
    desk.bring_part(0, 0, parts[0][:1])
    desk.bring_part(0, 1, parts[1])
    assert (desk.outcome(one), desk.outcome(other)) == ([Outcome.MET], [Outcome.ERROR])


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.data())
def test_cut_runs_hold_the_same_samples(lengths, data):
    runs = [Run(number, 10 * number, length) for number, length in enumerate(lengths)]
    samples = [(run.request, run.offset + k) for run in runs for k in range(run.rows)]
    first = data.draw(st.integers(0, len(samples)))
    stop = data.draw(st.integers(first, len(samples)))
    cut = [(run.request, run.offset + k) for run in cut_runs(runs, first, stop) for k in range(run.rows)]
    assert cut == samples[first:stop]
