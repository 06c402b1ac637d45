"""Rates above equal parts of interfaces: the checker adds up what passes every host."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from placed_plans import computing, planned
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.api.results.explanation_result import ExplanationResult
from penstock.api.results.plan_result import PlanResult
from penstock.api.showing.plan_tables import plan_parts
from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.shared_pools import with_shared_pools
from penstock.plan.placement.seats import place
from penstock.plan.placement.within_interfaces import placed_within_interfaces
from penstock.plan.questions.explain import explain
from penstock.plan.questions.full_interfaces import held_down
from penstock.ppipe.export import plan_document

# 1.25 MB at 10 Gbit/s: a sample takes 1 ms, so an interface carries 1000 samples a second. A sender computes 800/s, and
# its equal part of a host of two carries 500/s.
PROFILES = {
    "m": toy_profile(
        "m", {("a", 1): [[1_250], [90_000]], ("b", 1): [[90_000], [500]]}, boundary_bytes=[0, 1_250_000, 0]
    ),
    "n": toy_profile("n", {("a", 1): [[4_000], [4_000]]}),
}
SCENARIO = toy_scenario(
    {"a": DeviceClass(count=4, per_host=2), "b": DeviceClass(count=2)},
    [toy_model("m", 10_000), toy_model("n", 10_000)],
)


def models(*senders: int):
    """A pipeline of m for each of ``senders``, with a receiver each, and two whole workers of n."""
    m, n = SCENARIO.models
    return [
        computing(m, PROFILES["m"], SCENARIO, [[(1, "a", 1, count), (2, "b", 1, 1)] for count in senders]),
        computing(n, PROFILES["n"], SCENARIO, [[(2, "a", 1, 2)]]),
    ]


@pytest.fixture(scope="module")
def sound() -> Plan:
    """Two senders on different hosts, each beside a device that moves nothing. Receivers have hosts of their own."""
    plan = planned(*placed_within_interfaces(models(1, 1), SCENARIO, PROFILES), SCENARIO)
    check_plan(plan, PROFILES)
    return plan


def edited(plan: Plan, edit: Any) -> Plan:
    document = copy.deepcopy(plan.model_dump(mode="json"))
    edit(document)
    return Plan.model_validate(document, strict=False)


def test_senders_serve_more_than_their_equal_parts(sound: Plan):
    assert [pipeline.rate_rps for pipeline in sound.models[0].pipelines] == [800.0, 800.0]
    assert {(w.model, w.host) for w in sound.placement if w.stage == 0 and w.model == "m"} == {
        ("m", 0),
        ("m", 1),
    }
    assert list(held_down(sound, PROFILES)) == []


def on_one_host(document: dict[str, Any]) -> None:
    """Both senders on host 0: what the published placement of a group, one after the other, might do."""
    for worker in document["placement"]:
        if worker["device_class"] == "a":
            worker["host"], worker["device"] = (
                (0, worker["pipeline"]) if worker["model"] == "m" else (1, 2 + worker["slot"])
            )


def set_rates(document: dict[str, Any], rate_rps: float) -> None:
    first = document["models"][0]
    for pipeline in first["pipelines"]:
        pipeline["rate_rps"] = rate_rps
    first["rate_rps"] = sum(pipeline["rate_rps"] for pipeline in first["pipelines"])


def test_a_host_with_two_senders_is_over_capacity(sound: Plan):
    with pytest.raises(
        BadInputError, match=r"uplink of host 0 of a must carry 1.6 times.*m', pipeline 0, stage 0"
    ) as e:
        check_plan(edited(sound, on_one_host), PROFILES)
    assert "breaks 1 rule;" in str(e.value)


def test_lower_rates_make_the_same_places_right(sound: Plan):
    def lower(document: dict[str, Any], rate_rps: float = 500.0) -> None:
        on_one_host(document)
        set_rates(document, rate_rps)

    check_plan(edited(sound, lower), PROFILES)
    with pytest.raises(BadInputError, match=r"uplink of host 0 of a must carry 1.002 times"):
        check_plan(edited(sound, lambda document: lower(document, 501.0)), PROFILES)


def test_a_downlink_counts_too(sound: Plan):
    """Both receivers in one host of their class: 1600 samples a second come in."""

    def one_host(document: dict[str, Any]) -> None:
        document["scenario"]["cluster"]["device_classes"]["b"]["per_host"] = 2
        for worker in document["placement"]:
            if worker["device_class"] == "b":
                worker["host"] = 0

    with pytest.raises(BadInputError, match=r"the downlink of host 0 of b must carry 1.6 times"):
        check_plan(edited(sound, one_host), PROFILES)


def test_a_pipeline_may_serve_less_than_its_slowest_stage_but_not_more(sound: Plan):
    check_plan(edited(sound, lambda document: set_rates(document, 700.0)), PROFILES)
    with pytest.raises(BadInputError, match=r"rate_rps 801.0, its slowest stage has 800.0"):
        check_plan(edited(sound, lambda document: set_rates(document, 801.0)), PROFILES)


def test_a_stage_states_its_inference_or_its_equal_part_and_nothing_between(sound: Plan):
    def state(rate_rps: float) -> Plan:
        def edit(document: dict[str, Any]) -> None:
            set_rates(document, 500.0)
            for pipeline in document["models"][0]["pipelines"]:
                pipeline["stages"][0]["rate_rps"] = rate_rps

        return edited(sound, edit)

    check_plan(state(500.0), PROFILES)
    with pytest.raises(
        BadInputError,
        match=r"700.0, 1 workers sustain 500.0 on equal parts of their hosts' interfaces, and compute 800.0",
    ):
        check_plan(state(700.0), PROFILES)


def test_equal_parts_hold_at_any_place(sound: Plan):
    def equal(document: dict[str, Any]) -> None:
        on_one_host(document)
        set_rates(document, 500.0)
        for pipeline in document["models"][0]["pipelines"]:
            pipeline["stages"][0]["rate_rps"] = 500.0
            pipeline["stages"][1]["rate_rps"] = 1000.0  # a receiver has an interface to itself

    check_plan(edited(sound, equal), PROFILES)


def test_shared_pools_change_nothing(sound: Plan):
    assert with_shared_pools(sound, PROFILES).shared_pools


def held_down_plan() -> Plan:
    """One pipeline of three senders and a receiver: 2000/s by inference, 1000/s into the receiver's host."""
    given = models(3)
    given[1] = computing(SCENARIO.models[1], PROFILES["n"], SCENARIO, [[(2, "a", 1, 1)]])
    plan = planned(*placed_within_interfaces(given, SCENARIO, PROFILES), SCENARIO)
    check_plan(plan, PROFILES)
    return plan


def test_explain_names_the_full_interface():
    plan = held_down_plan()
    [pipeline] = plan.models[0].pipelines
    assert (pipeline.rate_rps, pipeline.stages[0].rate_rps) == (pytest.approx(1000.0), 2400.0)
    found = explain(plan, PROFILES)
    [one] = found.held_down
    assert (one.model, one.pipeline, one.pools_rps) == ("m", 0, 2000.0)
    [full] = one.interfaces
    assert (full.device_class, full.host, full.direction, full.used) == (
        "b",
        0,
        "downlink",
        pytest.approx(1.0),
    )
    assert [pool.limited_by for pool in found.pools] == ["inference"] * 3
    shown = str(ExplanationResult(PlanResult(plan, PROFILES, Path()), found))
    assert "b downlink of host 0" in shown


def test_explain_says_where_no_interface_is_full(sound: Plan):
    [first, second] = held_down(edited(sound, lambda document: set_rates(document, 100.0)), PROFILES)
    assert first.interfaces == second.interfaces == ()


def test_the_pool_table_says_what_a_pipeline_serves(sound: Plan):
    assert "serves/s" in str(plan_parts(held_down_plan())[0])
    assert "serves/s" not in str(plan_parts(sound)[0])


def test_the_artifacts_format_has_no_places(sound: Plan):
    with pytest.raises(BadInputError, match="m', pipeline 0, stage 0: its rate is above what equal parts"):
        plan_document(sound, PROFILES)


def test_the_published_placement_is_refused_where_it_puts_senders_together():
    """Without whole-model workers between them, the group of senders goes round the hosts: 3 on 2 hosts."""
    given = models(3)[:1]
    scenario = SCENARIO.edited(models=SCENARIO.models[:1])
    with pytest.raises(BadInputError, match="downlink of host 0 of b"):
        check_plan(planned(given, place(given, scenario.cluster), scenario), PROFILES)
