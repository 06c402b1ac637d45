"""The simulator against theory: M/D/1, conservation, exclusive resources, determinism."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_runs import as_arrivals, busy_table, names, same

from fleet_tables import Pipeline, Stage, make_table, tables, traffic
from penstock.errors import BadInputError
from penstock.record import Outcome, Record
from penstock.schedule.table import DispatchTable
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson


@pytest.mark.parametrize("load", [0.5, 0.8])
def test_md1_waiting_time(load):
    """Pollaczek-Khinchine: one server, fixed service s, Poisson: the mean wait is load s / (2 (1 - load))."""
    service_us = 1_000
    table = make_table([(10**12, [Pipeline(1, [Stage([service_us], [0])])])])
    arrivals = draw_arrivals(poisson, [load * 1e6 / service_us], 400.0, np.random.default_rng(3))
    record = simulate(table, arrivals, model_names=["m"], seed=0)
    wait_us = float((record.requests.finish_us - record.requests.arrival_us).mean()) - service_us
    assert wait_us == pytest.approx(load * service_us / (2 * (1 - load)), rel=0.03)


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_every_request_ends_once_and_resources_serve_one_batch_at_a_time(data):
    table = data.draw(tables(noisy=True))
    arrivals = as_arrivals(data.draw(traffic(table.n_models)))
    record = simulate(table, arrivals, model_names=names(table), seed=1, noise=data.draw(st.booleans()))
    check_requests(record)
    check_workers(table, record)
    check_links(table, record)


def check_requests(record: Record) -> None:
    requests = record.requests
    answered = np.isin(requests.outcome, (Outcome.MET, Outcome.LATE))
    dropped = np.isin(requests.outcome, (Outcome.DROPPED_EARLY, Outcome.DROPPED_DEADLINE))
    assert np.all(answered ^ dropped)
    assert np.array_equal(answered, requests.batch >= 0)
    assert np.array_equal(
        requests.outcome == Outcome.MET, answered & (requests.finish_us <= requests.deadline_us)
    )
    # Each batch holds as many requests as it says, and all of them end when its last stage does.
    first = record.batches.stage == 0
    sizes = np.bincount(requests.batch[answered], minlength=int(first.sum()))
    assert np.array_equal(sizes, record.batches.size[first])
    for batch in record.batches.batch[first]:
        rows = record.batches.batch == batch
        assert np.all(requests.finish_us[requests.batch == batch] == record.batches.end_us[rows].max())


def check_workers(table: DispatchTable, record: Record) -> None:
    b = record.batches
    for worker in range(table.n_workers):
        rows = np.flatnonzero(b.worker == worker)
        rows = rows[np.argsort(b.start_us[rows], kind="stable")]
        assert np.all(b.start_us[rows][1:] >= b.end_us[rows][:-1])
    assert np.all(b.start_us >= b.queued_us)


def check_links(table: DispatchTable, record: Record) -> None:
    """Each transfer holds [queued - transfer, queued) on the sender's uplink and the receiver's downlink."""
    b = record.batches
    held: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for row in np.flatnonzero(b.stage > 0):
        sender, receiver = table.worker_host[b.worker[row - 1]], table.worker_host[b.worker[row]]
        span = (int(b.queued_us[row] - b.transfer_us[row]), int(b.queued_us[row]))
        assert span[0] >= b.end_us[row - 1]
        if sender != receiver and span[1] > span[0]:  # nothing to send needs no link
            held.setdefault(("up", sender), []).append(span)
            held.setdefault(("down", receiver), []).append(span)
    for spans in held.values():
        spans.sort()
        assert all(later[0] >= earlier[1] for earlier, later in pairwise(spans))


def test_same_seed_same_record_and_another_seed_another():
    table = busy_table()
    arrivals = draw_arrivals(poisson, [3_000.0, 1_500.0], 1.0, np.random.default_rng(0))
    runs = [simulate(table, arrivals, model_names=["a", "b"], seed=seed, noise=True) for seed in (4, 4, 5)]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def test_noise_has_the_median_and_p99_of_the_profile():
    table = make_table([(10**9, [Pipeline(1, [Stage([1_000], [0], (), [1_500])])])])
    arrivals = draw_arrivals(poisson, [500.0], 60.0, np.random.default_rng(0))
    record = simulate(table, arrivals, model_names=["m"], seed=2, noise=True)
    took_us = record.batches.end_us - record.batches.start_us
    assert np.quantile(took_us, 0.5) == pytest.approx(1_000, rel=0.01)
    assert np.quantile(took_us, 0.99) == pytest.approx(1_500, rel=0.02)


def test_without_noise_nothing_is_late():
    """The policy's promises are exact, costs included: a request is met or dropped."""
    arrivals = draw_arrivals(poisson, [6_000.0, 3_000.0], 1.0, np.random.default_rng(0))
    record = simulate(
        busy_table(), arrivals, model_names=["a", "b"], seed=0, dispatch_us=200, overhead_us=300
    )
    outcome = record.requests.outcome
    assert not np.any(outcome == Outcome.LATE)
    assert np.any(outcome == Outcome.DROPPED_EARLY)
    assert np.any(outcome == Outcome.MET)


def test_overhead_and_dispatch_cost_are_in_the_finish():
    table = make_table([(100, [Pipeline(1, [Stage([10], [0])])])])
    record = simulate(
        table, as_arrivals([(5, 0, 100)]), model_names=["m"], seed=0, dispatch_us=3, overhead_us=4
    )
    assert record.batches.start_us.tolist() == [8]
    assert record.requests.finish_us.tolist() == [22]


def test_no_arrivals_make_an_empty_record():
    record = simulate(
        busy_table(), Arrivals(np.zeros(0, np.int64), np.zeros(0, np.int64)), model_names=["a", "b"], seed=0
    )
    assert len(record.requests.request) == len(record.batches.batch) == 0


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"policy": "fifo"}, "reservation"),
        ({"model_names": ["a"]}, "model_names"),
        ({"dispatch_us": -1}, "dispatch_us"),
        ({"arrivals": as_arrivals([(0, 2, 10)])}, "from 0 to 1"),
    ],
)
def test_bad_input(changed, message):
    arguments = {"arrivals": as_arrivals([(0, 0, 10)]), "model_names": ["a", "b"], "seed": 0} | changed
    with pytest.raises(BadInputError, match=message):
        simulate(busy_table(), **arguments)
