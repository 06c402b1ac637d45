"""Placement: shares on devices, devices in hosts."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.cluster import Cluster, DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, StagePlan
from penstock.plan.placement.seats import place


def pool(workers: int, share: int = 1, device_class: str = "gpu") -> StagePlan:
    return StagePlan(
        blocks=(0, 1),
        device_class=device_class,
        share=share,
        batch=1,
        workers=workers,
        inference_us=1,
        transfer_us=0,
        rate_rps=1.0,
    )


def model(name: str, *pipelines: list[StagePlan]) -> ModelPlan:
    made = [PipelinePlan(rate_rps=1.0, stages=stages) for stages in pipelines]
    return ModelPlan(name=name, rate_rps=1.0, slo_us=1, margin_us=0, pipelines=made)


def cluster(count: int, per_host: int = 1, max_share: int = 4) -> Cluster:
    spec = DeviceClass(count=count, per_host=per_host, max_share=max_share)
    return Cluster(bandwidth_gbps=10, device_classes={"gpu": spec})


def test_a_pool_goes_round_the_hosts_before_a_host_gets_a_second_worker():
    # Three hosts of two devices: the four devices of the pool are 0, 2, 4 and then 1.
    placed = place([model("m", [pool(4)])], cluster(6, per_host=2))
    assert [(w.slot, w.host, w.device) for w in placed] == [(0, 0, 0), (1, 1, 2), (2, 2, 4), (3, 0, 1)]


def test_slots_of_a_shared_device_are_apart():
    # Four half-device workers on two devices: slots alternate.
    placed = place([model("m", [pool(4, share=2)])], cluster(2))
    assert [(w.slot, w.device) for w in placed] == [(0, 0), (1, 1), (2, 0), (3, 1)]


def test_pipelines_of_a_model_share_a_device_but_models_and_positions_do_not():
    half = pool(1, share=2)
    two_pipelines = place([model("m", [half], [half])], cluster(1))
    assert {w.device for w in two_pipelines} == {0}
    with pytest.raises(InfeasibleError, match=r"needs 2 devices of gpu.*m stage 0: 1.*n stage 0: 1.*has 1"):
        place([model("m", [half]), model("n", [half])], cluster(1))
    with pytest.raises(InfeasibleError, match="needs 2 devices"):
        place([model("m", [half, half])], cluster(1))


def test_exact_packing_where_first_fit_decreasing_needs_one_more():
    # 1/2, 1/3, 1/5 and more: first fit puts 1/3 beside 1/2 and ends with four devices; three hold all:
    # 1/2+1/4+1/4, 1/3+1/3+1/3, 1/2+1/4+1/5 ... the sum is 2.95.
    shares = [2, 2, 3, 3, 3, 4, 4, 4, 5]
    placed = place([model("m", *[[pool(1, share)] for share in shares])], cluster(3, max_share=5))
    assert len({w.device for w in placed}) == math.ceil(sum(Fraction(1, share) for share in shares))


pools = st.lists(
    st.lists(
        st.lists(st.tuples(st.integers(1, 7), st.integers(1, 4)), min_size=1, max_size=3),
        min_size=1,
        max_size=3,
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=150, deadline=None)
@given(pools, st.integers(1, 4))
def test_no_device_is_double_booked_and_groups_take_no_more_than_their_sum(plan, per_host):
    models = [
        model(f"m{m}", *[[pool(n, share) for n, share in stages] for stages in pipelines])
        for m, pipelines in enumerate(plan)
    ]
    groups: dict[tuple[str, int], Fraction] = defaultdict(Fraction)
    for one in models:
        for pipeline in one.pipelines:
            for s, stage in enumerate(pipeline.stages):
                groups[one.name, s] += Fraction(stage.workers, stage.share)
    # Shares up to 1/4 always pack into the sum rounded up: the planner counts on it.
    needed = sum(math.ceil(total) for total in groups.values())
    placed = place(models, cluster(needed, per_host))
    load: dict[int, Fraction] = defaultdict(Fraction)
    owners = defaultdict(set)
    for w in placed:
        load[w.device] += Fraction(1, w.share)
        owners[w.device].add((w.model, w.stage))
        assert w.host == w.device // per_host
    assert max(load.values()) <= 1
    assert all(len(group) == 1 for group in owners.values())
    assert len(load) == needed
    assert [w.worker for w in placed] == list(range(len(placed)))
    slots = Counter((w.model, w.pipeline, w.stage) for w in placed)
    for one in models:
        for p, pipeline in enumerate(one.pipelines):
            for s, stage in enumerate(pipeline.stages):
                assert slots[one.name, p, s] == stage.workers
    with pytest.raises(InfeasibleError):
        place(models, cluster(needed - 1, per_host)) if needed > 1 else place(models, _without_devices())


def _without_devices() -> Cluster:
    return Cluster(
        bandwidth_gbps=10, device_classes={"gpu": DeviceClass(count=0), "other": DeviceClass(count=1)}
    )
