"""The checker finds each kind of edit that would make a plan lie."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan
from penstock.plan.planners.pool_planner import PoolPlanner

TABLES = {
    ("a", 1): [[10_000, 16_000], [50_000, 90_000]],
    ("b", 1): [[50_000, 90_000], [5_000, 9_000]],
    ("b", 2): [[90_000], [10_000]],
}
PROFILES = {
    "m": toy_profile(
        "m", TABLES, boundary_bytes=[0, 1_250_000, 0], parameter_bytes=10**9, activation_bytes=10**8
    )
}
CLASSES = {
    "a": DeviceClass(count=4, per_host=2, memory_gb=4),
    "b": DeviceClass(count=3, max_share=2, memory_gb=4),
}
SCENARIO = toy_scenario(CLASSES, [toy_model("m", 22_000, estimated_rps=1000.0)])


@pytest.fixture(scope="module")
def sound() -> dict[str, Any]:
    plan = PoolPlanner().plan(SCENARIO, PROFILES).solution
    check_plan(plan, PROFILES)
    return plan.model_dump(mode="json")


def stage(document: dict[str, Any], s: int) -> dict[str, Any]:
    return document["models"][0]["pipelines"][0]["stages"][s]


def edit_stage(s: int, **fields: Any):
    return lambda document: stage(document, s).update(fields)


def edit_worker(index: int, **fields: Any):
    return lambda document: document["placement"][index].update(fields)


def double_book(document: dict[str, Any]) -> None:
    first, second = document["placement"][:2]
    second.update(device=first["device"], host=first["host"])


def share_across_stages(document: dict[str, Any]) -> None:
    for s in (0, 1):
        stage(document, s).update(device_class="b", share=2)
    for worker in document["placement"]:
        worker.update(device_class="b", share=2, device=0, host=0)


EDITS = {
    "double booked": (double_book, r"device \d of a is double booked: workers 0 \(m, 1/1\), 1 \(m, 1/1\)"),
    "shared by stages": (share_across_stages, "shared by different models or stage positions"),
    "no such device": (edit_worker(0, device=9, host=4), r"device 9 of a, the cluster has 4"),
    "wrong host": (edit_worker(0, host=1), "host 1 of a, but device"),
    "worker number": (edit_worker(0, worker=7), "worker 7, workers count up"),
    "worker lost": (lambda d: d["placement"].pop(), "workers are placed, the plan has"),
    "worker twice": (lambda d: d["placement"].append(d["placement"][-1]), "workers are placed, the plan has"),
    "wrong slot": (edit_worker(0, slot=1), "placement, entry 0"),
    "gap in blocks": (edit_stage(0, blocks=[1, 1]), "must start at 0 and not be empty"),
    "blocks missing": (lambda d: d["models"][0]["pipelines"][0]["stages"].pop(), "the model has 2 blocks"),
    "unknown class": (edit_stage(0, device_class="z"), "'z' is not in the cluster"),
    "share not allowed": (edit_stage(0, share=2), "share 2, a allows 1"),
    "batch not timed": (edit_stage(0, batch=3), "batch 3, the profile ends at 2"),
    "batches differ": (edit_stage(1, batch=2), "the first stage has 1"),
    "inference": (edit_stage(0, inference_us=9_999), "inference_us 9999, the profile says 10000"),
    "transfer": (edit_stage(0, transfer_us=1), "transfer_us 1, the profile and bandwidth say 1000"),
    "stage rate": (edit_stage(0, rate_rps=1e6), "workers sustain"),
    "more workers": (edit_stage(0, workers=9), "9 workers sustain"),
    "pipeline rate": (lambda d: d["models"][0]["pipelines"][0].update(rate_rps=1e6), "its slowest stage has"),
    "model rate": (lambda d: d["models"][0].update(rate_rps=1.0), "its pipelines sum to"),
    "objective": (lambda d: d.update(objective=d["objective"] * 1.01), "the least rate / weight is"),
    "bound": (lambda d: d.update(bound=d["objective"] * 0.9), "below the objective"),
    "gap": (lambda d: d.update(gap=0.5), "bound and objective give"),
    "slo": (lambda d: d["models"][0].update(slo_us=99), "slo_us 99, the scenario says 22000"),
    "margin": (lambda d: d["models"][0].update(margin_us=5), "margin_us 5, the scenario says 0"),
    "estimate": (lambda d: d["models"][0].update(estimated_rps=9.0), "estimated_rps 9.0, the scenario says"),
    "too many stages": (
        lambda d: d["scenario"]["planner"].update(max_stages=1),
        r"2 stages, the scenario allows 1 \(planner.max_stages\)",
    ),
    "status": (lambda d: d.update(status="optimal!"), "status 'optimal!': it is optimal or feasible"),
    "other model": (lambda d: d["models"][0].update(name="x"), "its scenario asks for"),
    "weight": (lambda d: d["scenario"]["models"][0].update(weight=2.0), "the least rate / weight is"),
    "slo of both": (
        lambda d: (d["models"][0].update(slo_us=9_000), d["scenario"]["models"][0].update(slo_us=9_000)),
        "the SLO less its margin is 9000",
    ),
    "fewer devices": (
        lambda d: d["scenario"]["cluster"]["device_classes"]["a"].update(count=1),
        "the cluster has 1",
    ),
    "memory": (
        lambda d: d["scenario"]["cluster"]["device_classes"]["a"].update(memory_gb=1.0),
        r"device \d of a is out of memory: workers \d need 1.100 GB, it has 1.0",
    ),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_found(sound: dict[str, Any], name: str):
    edit, message = EDITS[name]
    document = copy.deepcopy(sound)
    edit(document)
    plan = Plan.model_validate(document, strict=False)
    with pytest.raises(BadInputError, match=message):
        check_plan(plan, PROFILES)


def absent(sound: dict[str, Any], **fields: float) -> Plan:
    """The sound plan of a scenario that gives neither margin nor estimate, with ``fields`` of its model."""
    document = copy.deepcopy(sound)
    document["scenario"]["models"][0].update(slo_margin_us=None, estimated_rps=None)
    document["models"][0].update(fields)
    return Plan.model_validate(document, strict=False)


def test_a_margin_not_given_is_the_default(sound: dict[str, Any]):
    with pytest.raises(BadInputError, match=r"margin_us 1, the scenario gives none, which means 8800"):
        check_plan(absent(sound, margin_us=1), PROFILES)


def test_an_estimate_not_given_is_no_more_than_the_cluster_serves(sound: dict[str, Any]):
    # Batched and shared best: a takes 8 and 45 ms of a device for a request, b 45 and 4.5 (49.5 in all). At the
    # price of one a whole model, the cheapest blocks cost 8/53 + 4.5/49.5; the devices have 4/53 ms + 3/49.5 ms.
    most_rps = (4 / 53e-3 + 3 / 49.5e-3) / (8 / 53 + 4.5 / 49.5)
    with pytest.raises(BadInputError, match=rf"the whole cluster serves at most {most_rps:.6f}"):
        check_plan(absent(sound, estimated_rps=1e9), PROFILES)
    with pytest.raises(BadInputError) as error:
        check_plan(absent(sound, estimated_rps=most_rps), PROFILES)
    assert "estimated_rps" not in str(error.value)  # only the margin


def test_a_plan_states_its_version(sound: dict[str, Any]):
    with pytest.raises(ValueError, match="version"):
        Plan.model_validate({key: value for key, value in sound.items() if key != "version"}, strict=False)


def test_gathering_counts_toward_the_slo(sound: dict[str, Any]):
    # Batch 2 in both stages: 16 + 9 + 2 ms, and 1.3 * 1 / rate to gather: 13 ms at 100/s, 1.3 ms at 1000/s.
    scenario = toy_scenario(
        {"a": CLASSES["a"], "b": DeviceClass(count=9)}, [toy_model("m", 40_000, estimated_rps=1000.0)]
    )
    plan = PoolPlanner().plan(scenario, PROFILES).solution
    assert {s.batch for s in plan.models[0].pipelines[0].stages} == {2}
    document = plan.model_dump(mode="json")
    for holder in (document["models"][0], document["scenario"]["models"][0]):
        holder["estimated_rps"] = 99.0
    with pytest.raises(BadInputError, match=r"takes 40131\.3 us"):
        check_plan(Plan.model_validate(document, strict=False), PROFILES)
