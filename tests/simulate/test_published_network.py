"""Which interface a worker sends through, and one record of models that ran alone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from record_checks import check_conservation, check_workers
from simulated_runs import busy_table

from penstock.cluster import Cluster
from penstock.errors import BadInputError
from penstock.plan.documents.plan import Plan
from penstock.ppipe.simulator.fleet import only_model
from penstock.ppipe.simulator.network import Flaws, uplinks
from penstock.ppipe.simulator.published import simulate_published, tally
from penstock.record import Outcome
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson

CLUSTER = Cluster.model_validate(
    {
        "bandwidth_gbps": 1,
        "device_classes": {"H": {"count": 8, "per_host": 4}, "L": {"count": 8, "per_host": 2}},
    }
)


def stage(device_class, workers, share=1):
    return SimpleNamespace(device_class=device_class, workers=workers, share=share)


def made(models, hosts):
    """A plan of (name, stages of its one pipeline) whose workers sit on ``hosts``: what the network is made of."""
    placement = [
        SimpleNamespace(model=name, device_class=device_class, host=host)
        for name, device_class, host in hosts
    ]
    return Plan.model_construct(
        scenario=SimpleNamespace(cluster=CLUSTER),
        models=[SimpleNamespace(name=name, pipelines=[SimpleNamespace(stages=own)]) for name, own in models],
        placement=placement,
    )


@pytest.mark.parametrize(
    ("flaws", "senders"),
    [
        (Flaws(consecutive_workers=True), [0, 0, 1, 1, 2, 2]),  # two devices to a host of L
        (Flaws(larger_hosts=True), [0, 1, 0, 1, 0, 1]),  # four, as on H, which receives
        (Flaws(larger_hosts=True, consecutive_workers=True), [0, 0, 0, 0, 1, 1]),
    ],
)
def test_flawed_groups(flaws, senders):
    plan = made([("m", [stage("L", 6), stage("H", 2)])], [])
    assert uplinks(plan, 0, flaws)[:6].tolist() == senders


def test_workers_that_share_a_device_share_its_interface():
    plan = made([("m", [stage("L", 6, share=2), stage("H", 2)])], [])
    assert uplinks(plan, 0, Flaws(consecutive_workers=True))[:6].tolist() == [0, 0, 0, 0, 1, 1]


def test_without_flaws_the_plan_says_who_shares_a_host():
    hosts = [("other", "L", 0), ("m", "L", 3), ("m", "L", 1), ("m", "L", 3), ("m", "H", 1)]
    plan = made([("other", [stage("L", 1)]), ("m", [stage("L", 3), stage("H", 1)])], hosts)
    placed = uplinks(plan, 1, Flaws())
    assert placed[0] == placed[2]
    assert len({int(link) for link in placed}) == 3


@pytest.mark.parametrize("policy", ["reservation", "reactive"])
def test_models_alone_in_one_record(policy):
    """Each model's part is its own tally, the workers are the plan's, and nothing is counted twice."""
    table = busy_table()
    hosts = [("a", "L", 0), ("a", "L", 1), ("a", "H", 0), ("a", "H", 1)]
    hosts += [("b", device_class, host) for _, device_class, host in hosts]
    plan = made([(name, [stage("L", 2), stage("H", 2)]) for name in "ab"], hosts)
    arrivals = draw_arrivals(poisson, [4_000.0, 2_000.0], 0.5, np.random.default_rng(1))
    record = simulate_published(plan, table, arrivals, policy=policy)
    check_conservation(record, len(arrivals))
    check_workers(record)
    assert record.requests.arrival_us.tolist() == arrivals.arrival_us.tolist()
    assert record.requests.model.tolist() == arrivals.model.tolist()
    for model in (0, 1):
        times = arrivals.arrival_us[arrivals.model == model]
        alone = tally(only_model(table, model), uplinks(plan, model, Flaws()), [times], policy=policy)
        own = record.requests.model == model
        counts = np.bincount(record.requests.outcome[own], minlength=len(Outcome))
        assert counts.tolist() == alone.outcomes.tolist()
        workers = np.unique(record.batches.worker[record.batches.model == model])
        assert workers.tolist() == [4 * model + worker for worker in range(4)]
        batches = record.batches.batch[record.batches.model == model]
        assert set(record.requests.batch[own & (record.requests.batch >= 0)]) <= set(batches)


def test_a_request_has_no_slo_of_its_own_here():
    one = np.zeros(1, np.int64)
    with pytest.raises(BadInputError, match="one SLO"):
        simulate_published(made([], []), busy_table(), Arrivals(one, one, one + 5))
