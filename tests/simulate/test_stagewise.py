"""Stage-wise policies on the whole fleet: by hand, and what holds in every run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_checks import check_conservation, check_transfers, check_workers
from simulated_runs import as_arrivals, busy_table, names, same

from fleet_tables import Pipeline, Stage, make_table, tables, traffic
from penstock.errors import BadInputError
from penstock.simulate.stagewise.stagewise_simulator import run_stagewise, simulate_stagewise
from penstock.traffic.arrivals import draw_arrivals
from penstock.traffic.processes.renewal import poisson


def test_links_are_shared_and_a_host_receives_for_its_own_workers():
    """Two batches end at 10 on hosts 0 and 1. Host 2 has half the pool, host 3 the other: each gets one, so both
    travel until 14 and end at 19. A third, of host 0 at 11, takes the less loaded host anew, and its uplink is free."""
    table = make_table([(100, [Pipeline(1, [Stage([10], [0, 1, 0]), Stage([5], [2, 3], [4])])])])
    run, record = run_stagewise(
        table, as_arrivals([(0, 0, 100), (0, 0, 100), (1, 0, 100)]), model_names=["m"], seed=0
    )
    assert run.transfers.downlink[:5].tolist() == [2, 3, 2, -1, -1]
    assert run.transfers.sent_us[:3].tolist() == [10, 10, 14]
    assert record.requests.finish_us.tolist() == [19, 19, 24]


def test_within_a_host_a_transfer_takes_its_time_and_no_link():
    table = make_table([(100, [Pipeline(1, [Stage([10], [0]), Stage([5], [0], [4])])])])
    run, record = run_stagewise(table, as_arrivals([(0, 0, 100)]), model_names=["m"], seed=0)
    assert record.requests.finish_us.tolist() == [19]
    assert run.transfers.uplink.max() == -1


def test_costs_are_in_the_finish_and_in_the_slack():
    """Dispatch 3 before each stage, overhead 4 after: 3 + 10 + 4 + 3 + 5 + 4 = 29; an SLO of 28 is hopeless."""
    table = make_table([(100, [Pipeline(1, [Stage([10], [0]), Stage([5], [1], [4])])])])
    options = {"model_names": ["m"], "seed": 0, "dispatch_us": 3, "overhead_us": 4}
    record = simulate_stagewise(table, as_arrivals([(0, 0, 29)]), **options)
    assert record.requests.finish_us.tolist() == [29]
    assert simulate_stagewise(table, as_arrivals([(0, 0, 28)]), **options).batches.batch.size == 0


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_every_request_ends_once_and_nothing_is_double_booked(data):
    table = data.draw(tables(noisy=True))
    arrivals = as_arrivals(data.draw(traffic(table.n_models)))
    run, record = run_stagewise(
        table,
        arrivals,
        model_names=names(table),
        seed=1,
        noise=data.draw(st.booleans()),
        dispatch_us=data.draw(st.integers(0, 3)),
    )
    check_conservation(record, len(arrivals))
    check_workers(record)
    check_transfers(run.transfers)


def test_same_seed_same_record_and_another_seed_another():
    """Long enough to outgrow every array."""
    table = busy_table()._replace(slo_us=np.array([900_000, 900_000]))
    arrivals = draw_arrivals(poisson, [9_000.0, 6_000.0], 1.0, np.random.default_rng(0))
    runs = [
        simulate_stagewise(table, arrivals, model_names=["a", "b"], seed=s, noise=True) for s in (4, 4, 5)
    ]
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])
    assert len(runs[0].batches.batch) > 2048


def test_a_routed_policy_is_refused():
    with pytest.raises(BadInputError, match="reactive"):
        simulate_stagewise(
            busy_table(), as_arrivals([(0, 0, 9)]), model_names=["a", "b"], seed=0, policy="edf"
        )
