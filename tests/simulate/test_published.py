"""The published mode: by hand, against the full simulator if both describe the same world, and its invariants."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_checks import check_conservation, check_disjoint, check_transfers, check_workers
from simulated_runs import as_arrivals, busy_table, same

from fleet_tables import Pipeline, Stage, make_table, tables
from penstock.errors import BadInputError
from penstock.ppipe.simulator.fleet import only_model
from penstock.ppipe.simulator.published import POLICIES, record_one, tally
from penstock.ppipe.simulator.renewal_chunks import renewal_chunks
from penstock.ppipe.simulator.runs import reactive_run, request_log
from penstock.record import Outcome
from penstock.simulate.routed.routed_simulator import simulate

TWO_STAGES = [Stage([10], [0, 0, 1]), Stage([5], [2, 3, 4], [4])]


def one_model(stages=TWO_STAGES, batch=1, slo_us=100):
    return make_table([(slo_us, [Pipeline(batch, stages)])])


def run(table, times, policy="reservation", uplink=None):
    link = table.worker_host if uplink is None else uplink
    return record_one(table, link, np.array(times, np.int64), model_name="m", policy=policy)


def test_transfers_queue_at_the_sender_and_the_idle_worker_of_a_free_uplink_goes_first():
    """Three at once. Worker 0 (uplink 0) ends at 10 and sends until 14; worker 2 has an uplink of its own and is
    taken next; worker 1 ends at 10, but its uplink is free from 14: 14 + 4 + 5 = 23."""
    record = run(one_model(), [0, 0, 0])
    assert record.batches.worker[record.batches.stage == 0].tolist() == [0, 2, 1]
    assert record.requests.finish_us.tolist() == [19, 19, 23]


def test_receivers_never_wait():
    """Two senders with interfaces of their own, one receiving host: in the full mode its downlink would serialise."""
    stages = [Stage([10], [0, 1]), Stage([5], [2, 2], [4])]
    assert run(one_model(stages), [0, 0]).requests.finish_us.tolist() == [19, 19]
    full = simulate(one_model(stages), as_arrivals([(0, 0, 100)] * 2), model_names=["m"], seed=0)
    assert full.requests.finish_us.tolist() == [19, 23]


def test_early_drop_waiting_and_deadline_drop():
    """Batch 2 takes 10, batch 1 takes 8, SLO 20, one worker. The pair at 0 goes at once and ends at 10. The one
    at 1 waits for company until 20 + 1 - 10 = 11, then ends at 19. The one at 9 could only end at 29, alone or
    not, at first sight of it: dropped early."""
    table = one_model([Stage([8, 10], [0])], batch=2, slo_us=20)
    record = run(table, [0, 0, 1])
    assert record.requests.finish_us.tolist() == [10, 10, 19]
    assert run(table, [0, 0, 1, 1, 2]).requests.outcome.tolist() == [0, 0, 0, 0, Outcome.DROPPED_EARLY]


def test_reactive_waits_in_every_stage_until_its_slack_is_gone():
    """Arrivals at 0, 0, 6; planned batch 2. The pair runs from 0 to 12 and arrives at 14.

    The third waits for a partner until its slack is gone: 106 - later (2 + 12) - 12 = 80. It ends at 90, arrives at
    91, and waits there until 106 - 12 = 94, to end at 104: every stage uses up what slack it is given.
    """
    stages = [Stage([10, 12], [0, 1]), Stage([10, 12], [2, 3], [1, 2])]
    record = run(one_model(stages, batch=2), [0, 0, 6], "reactive")
    assert record.batches.start_us.tolist() == [0, 14, 80, 94]
    assert record.requests.finish_us.tolist() == [26, 26, 104]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_without_a_network_the_published_and_the_full_simulator_agree(data):
    """Without transfers every route is equal except for the names of its workers: the requests' ends are the same."""
    table = data.draw(tables())
    table = only_model(table._replace(transfer_us=np.zeros_like(table.transfer_us)), 0)
    times = np.cumsum(data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=40)))
    full = simulate(
        table,
        as_arrivals([(int(t), 0, int(table.slo_us[0])) for t in times]),
        model_names=["m"],
        seed=0,
        policy="reservation",
    )
    published = run(table, times)
    for column in ("finish_us", "outcome", "pipeline", "batch"):
        assert getattr(published.requests, column).tolist() == getattr(full.requests, column).tolist()


@settings(max_examples=60, deadline=None)
@given(data=st.data(), policy=st.sampled_from(POLICIES))
def test_every_request_ends_once_and_nothing_is_double_booked(data, policy):
    table = only_model(data.draw(tables()), 0)
    times = np.cumsum(data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=40)))
    record = run(table, times, policy)
    check_conservation(record, len(times))
    check_workers(record)
    if policy == "reservation":
        assert not np.any(record.requests.outcome == Outcome.LATE)
        check_uplinks(table, record)
    else:
        pools = reactive_run(table, table.worker_host, recorded=True)
        pools.add(request_log(times, int(table.slo_us[0]), recorded=True), last=True)
        check_transfers(pools.transfers)


def check_uplinks(table, record):
    """Each transfer holds [queued - transfer, queued) on the sender's uplink."""
    b = record.batches
    spans = {}
    for row in np.flatnonzero(b.stage > 0):
        assert b.queued_us[row] - b.transfer_us[row] >= b.end_us[row - 1]
        if b.transfer_us[row]:
            sent = (int(b.queued_us[row] - b.transfer_us[row]), int(b.queued_us[row]))
            spans.setdefault(int(table.worker_host[b.worker[row - 1]]), []).append(sent)
    for held in spans.values():
        check_disjoint(held)


@pytest.mark.parametrize("policy", POLICIES)
def test_chunks_and_the_record_change_nothing(policy):
    table = only_model(busy_table(), 0)
    times = np.concatenate(list(renewal_chunks(6_500.0, 1.0, np.random.default_rng(5))))
    whole = tally(table, table.worker_host, [times], policy=policy)
    pieces = tally(table, table.worker_host, np.array_split(times, 37), policy=policy)
    record = run(table, times, policy)
    assert whole.outcomes.tolist() == pieces.outcomes.tolist()
    assert whole.outcomes.tolist() == np.bincount(record.requests.outcome, minlength=len(Outcome)).tolist()
    busy = np.bincount(record.batches.stage, weights=record.batches.end_us - record.batches.start_us)
    assert whole.busy_us.tolist() == pieces.busy_us.tolist() == busy.tolist()
    assert whole.requests == len(times)
    assert 0 < whole.attainment < 1
    assert same(record, run(table, times, policy))


def test_chunks_of_a_renewal_process_have_its_rate_and_cut_gaps_raise_it():
    """Cutting gaps to whole microseconds takes half of one from each on average: +0.5% at 10,000 a second."""
    counts = [
        sum(len(c) for c in renewal_chunks(1e4, 60.0, np.random.default_rng(1), whole_gaps=cut))
        for cut in (False, True)
    ]
    assert counts[0] == pytest.approx(600_000, rel=0.005)
    assert counts[1] / counts[0] == pytest.approx(1.005, abs=0.0005)


def test_bad_input():
    with pytest.raises(BadInputError, match="reactive"):
        tally(one_model(), np.zeros(6, np.int64), [], policy="fifo")
    with pytest.raises(BadInputError, match="rate_rps"):
        next(renewal_chunks(0.0, 1.0, np.random.default_rng(0)))
