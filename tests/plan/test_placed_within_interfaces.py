"""Places and rates within interfaces: by hand, and for any small fleet."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from placed_plans import computing, moved_by_host, planned
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.rules.interface_rules import equal_part_rps
from penstock.plan.placement.balanced_hosts import balanced_homes
from penstock.plan.placement.seats import place
from penstock.plan.placement.within_interfaces import placed_within_interfaces

# A sample takes 1 ms over an interface of 10 Gbit/s.
MEGABYTES = [0, 1_250_000, 0]


def two_models(weights=(1.0, 1.0), senders=(1, 1), receivers=1):
    """m and n on senders of 800/s and receivers of 4000/s. All receivers have one host, which takes 1000/s."""
    rows = {("a", 1): [[1_250], [90_000]], ("b", 1): [[90_000], [250]]}
    profiles = {name: toy_profile(name, rows, boundary_bytes=MEGABYTES) for name in "mn"}
    asked = [
        toy_model(name, 10_000, weight=weight, estimated_rps=1000.0)
        for name, weight in zip("mn", weights, strict=True)
    ]
    scenario = toy_scenario(
        {"a": DeviceClass(count=sum(senders)), "b": DeviceClass(count=2 * receivers, per_host=2 * receivers)},
        asked,
    )
    models = [
        computing(one, profiles[one.name], scenario, [[(1, "a", 1, count), (2, "b", 1, receivers)]])
        for one, count in zip(asked, senders, strict=True)
    ]
    return models, scenario, profiles


def test_the_least_rate_comes_first_then_the_sum():
    models, placement = placed_within_interfaces(*two_models())
    assert [model.rate_rps for model in models] == pytest.approx([500.0, 500.0])
    assert len(placement) == 4
    models, _ = placed_within_interfaces(*two_models(weights=(3.0, 1.0)))
    assert [model.rate_rps for model in models] == pytest.approx([750.0, 250.0])
    # The sender of m makes no more than 800/s. The rest goes to n.
    models, _ = placed_within_interfaces(*two_models(weights=(9.0, 1.0)))
    assert [model.rate_rps for model in models] == pytest.approx([800.0, 200.0])


def test_nothing_that_binds_leaves_every_figure_as_it_was():
    models, scenario, profiles = two_models(receivers=1)
    wide = scenario.with_device_classes(
        {"a": DeviceClass(count=2), "b": DeviceClass(count=2, per_host=1, bandwidth_gbps=10.0)}
    )
    with patch("penstock.plan.placement.within_interfaces.run", side_effect=AssertionError):
        assert placed_within_interfaces(models, wide, profiles)[0] == models


def hosts_of(*moved: tuple[float, float]) -> list[int]:
    """The hosts, of two devices each, of workers that receive and send so much. Each has a device to itself."""
    profile = toy_profile("m", {("a", 1): [[1_000]]})
    names = "klmnop"[: len(moved)]
    scenario = toy_scenario(
        {"a": DeviceClass(count=4, per_host=2)}, [toy_model(name, 10_000) for name in names]
    )
    models = [computing(one, profile, scenario, [[(1, "a", 1, 1)]]) for one in scenario.models]
    loads = {(m, 0, 0): load for m, load in enumerate(moved)}
    homes = balanced_homes(models, scenario.cluster, loads, share_devices=False)
    return [homes[m, 0, 0][0][1] // 2 for m in range(len(moved))]


def test_devices_that_send_are_spread_over_hosts():
    # One after the other, as published, both senders would be on the first host.
    assert hosts_of((0, 0.6), (0, 0), (0, 0.6), (0, 0)) == [0, 0, 1, 1]
    assert hosts_of((0, 0), (0, 0), (0, 0), (0, 0)) == [0, 1, 0, 1]


def test_the_device_that_moves_most_goes_first():
    assert hosts_of((0, 0.3), (0, 0.3), (0, 0.6)) == [1, 1, 0]


def test_each_direction_counts_alone():
    # 0.9 come in on host 0, 0.5 go out on host 1: 0.45 more go out beside what comes in, though that host moves more.
    assert hosts_of((0.9, 0), (0, 0.5), (0, 0.45)) == [0, 1, 0]


def test_a_full_host_takes_no_more():
    assert hosts_of((0, 0.9), (0, 0.2), (0, 0.2), (0, 0.2)) == [0, 1, 1, 0]


def test_senders_go_beside_receivers():
    """A class that both sends and receives: uplink and downlink are not the same resource."""
    rows = {("a", 1): [[1_250], [1_250]]}
    profiles = {"m": toy_profile("m", rows, boundary_bytes=MEGABYTES)}
    scenario = toy_scenario({"a": DeviceClass(count=4, per_host=2)}, [toy_model("m", 50_000)])
    models = [computing(scenario.models[0], profiles["m"], scenario, [[(1, "a", 1, 2), (2, "a", 1, 2)]])]
    [model], placement = placed_within_interfaces(models, scenario, profiles)
    assert model.rate_rps == 1600.0
    assert {(w.host, w.stage) for w in placement} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_a_pipeline_for_which_nothing_is_left_goes_with_its_workers():
    """Both pipelines of m come in over one full downlink. The one of half the bytes serves twice as much."""
    rows = {("a", 1): [[100], [1_000], [90_000]], ("b", 1): [[90_000], [100], [100]]}
    profiles = {"m": toy_profile("m", rows, boundary_bytes=[0, 1_250_000, 625_000, 0])}
    scenario = toy_scenario(
        {"a": DeviceClass(count=3), "b": DeviceClass(count=2, per_host=2)}, [toy_model("m", 50_000)]
    )
    [asked] = scenario.models
    pipelines = [[(1, "a", 1, 1), (3, "b", 1, 1)], [(2, "a", 1, 2), (3, "b", 1, 1)]]
    models = [computing(asked, profiles["m"], scenario, pipelines)]
    # Two senders of 909/s: 1818/s of half a millisecond leave 91/s to the other pipeline.
    [model], placement = placed_within_interfaces(models, scenario, profiles)
    assert [p.rate_rps for p in model.pipelines] == pytest.approx([1000 - 1e6 / 1100, 2e6 / 1100])
    assert len(placement) == 5
    # Two samples of the small one cost what one of the large one costs: with three senders nothing is left.
    more = scenario.with_device_classes({**scenario.cluster.device_classes, "a": DeviceClass(count=4)})
    pipelines[1][0] = (2, "a", 1, 3)
    [model], placement = placed_within_interfaces(
        [computing(asked, profiles["m"], more, pipelines)], more, profiles
    )
    assert [p.rate_rps for p in model.pipelines] == pytest.approx([2000.0])
    assert [(w.worker, w.pipeline, w.stage, w.slot) for w in placement] == [
        (0, 0, 0, 0),
        (1, 0, 0, 1),
        (2, 0, 0, 2),
        (3, 0, 1, 0),
    ]
    check_plan(planned([model], placement, more), profiles)


@st.composite
def questions(draw):
    """Models of two or three stages on two classes, with shares, lost devices and a last host that may be smaller."""
    classes = {
        name: DeviceClass(
            count=(count := draw(st.integers(2, 9))),
            per_host=draw(st.integers(1, 4)),
            max_share=2,
            bandwidth_gbps=draw(st.sampled_from([None, 2.0])),
            lost=tuple(sorted(draw(st.sets(st.integers(0, count - 1), max_size=1)))),
        )
        for name in "ab"
    }
    asked = [
        toy_model(name, 10**8, weight=draw(st.sampled_from([0.01, 1.0, 3.0])))
        for name in "mn"[: draw(st.integers(1, 2))]
    ]
    scenario = toy_scenario(classes, asked, max_stages=3, share_devices=draw(st.booleans()))
    profiles, models = {}, []
    for one in asked:
        times = st.integers(1, 9).map(lambda k: 300 * k)
        rows = {
            (name, share): [
                [time * share, 2 * time * share] for time in (draw(times), draw(times), draw(times))
            ]
            for name in "ab"
            for share in (1, 2)
        }
        sizes = [0, *(draw(st.sampled_from([0, 1_000, 300_000, 2_000_000])) for _ in range(2)), 0]
        profiles[one.name] = toy_profile(one.name, rows, boundary_bytes=sizes)
        pool = st.tuples(st.sampled_from("ab"), st.integers(1, 2), st.integers(1, 3))
        pipelines = [
            [(stop, *draw(pool)) for stop in draw(st.sampled_from([[3], [1, 3], [2, 3], [1, 2, 3]]))]
            for _ in range(draw(st.integers(1, 2)))
        ]
        models.append(computing(one, profiles[one.name], scenario, pipelines, batch=draw(st.integers(1, 2))))
    return models, scenario, profiles


@settings(max_examples=300)
@given(questions())
def test_what_is_placed_keeps_every_rule(question):
    models, scenario, profiles = question
    try:
        published = place(models, scenario.cluster, share_devices=scenario.planner.share_devices)
    except InfeasibleError as error:
        with pytest.raises(InfeasibleError) as same:
            placed_within_interfaces(models, scenario, profiles)
        assert str(same.value) == str(error)
        return
    found, placement = placed_within_interfaces(models, scenario, profiles)
    plan = planned(found, placement, scenario)
    check_plan(plan, profiles)
    loads = moved_by_host(plan, profiles)
    assert all(max(load) <= 1 + 1e-6 for load in loads.values())
    assert len({(w.device_class, w.device) for w in placement}) <= len(
        {(w.device_class, w.device) for w in published}
    )
    # Equal parts hold at any place. So the program serves no less.
    equal, most = [], []
    for model, asked in zip(models, scenario.models, strict=True):
        rates = [
            min(
                min(
                    stage.rate_rps,
                    stage.workers * equal_part_rps(pipeline.stages, s, scenario, profiles[model.name]),
                )
                for s, stage in enumerate(pipeline.stages)
            )
            for pipeline in model.pipelines
        ]
        equal.append(sum(rates) / asked.weight)
        most.append(model.rate_rps / asked.weight)
    assert plan.objective >= min(equal) * (1 - 1e-6)
    assert plan.objective <= min(most) * (1 + 1e-9)
    # Nothing is left to raise: a pipeline below its slowest stage passes a full interface.
    full = {(place, d) for place, load in loads.items() for d in (0, 1) if load[d] > 1 - 1e-5}
    for model in found:
        for p, pipeline in enumerate(model.pipelines):
            if pipeline.rate_rps < min(stage.rate_rps for stage in pipeline.stages) * (1 - 1e-5):
                passed = {
                    ((w.device_class, w.host), d)
                    for w in placement
                    if (w.model, w.pipeline) == (model.name, p)
                    for d, moves in enumerate((w.stage > 0, w.stage + 1 < len(pipeline.stages)))
                    if moves
                }
                assert passed & full


@settings(max_examples=100)
@given(questions())
def test_where_nothing_moves_the_places_are_the_published_ones(question):
    models, scenario, profiles = question
    silent = {
        name: toy_profile(name, {key: t.latency_us.tolist() for key, t in profile.tables.items()})
        for name, profile in profiles.items()
    }
    try:
        published = place(models, scenario.cluster, share_devices=scenario.planner.share_devices)
    except InfeasibleError:
        return
    assert placed_within_interfaces(models, scenario, silent) == (models, published)
