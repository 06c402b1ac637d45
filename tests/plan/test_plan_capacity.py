"""What a rate costs, and what one more device is worth: by hand."""

from __future__ import annotations

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.questions.capacity import aimed_at, cost_curve, most_served, worth_of_devices

PLANNER = PoolPlanner(SearchLimits(gap=1e-9, time_limit_s=30))
PROFILES = {"m": toy_profile("m", {("dear", 1): [[5_000]], ("cheap", 1): [[20_000]]})}


def scenario(dear: int = 1, cheap: int = 3, hourly_cost: float | None = 1.0, **model: float) -> Scenario:
    """A dear device serves 200/s for 3 an hour, a cheap one 50/s for 1."""
    classes = {
        "dear": DeviceClass(count=dear, hourly_cost=3.0),
        "cheap": DeviceClass(count=cheap, hourly_cost=hourly_cost),
    }
    return toy_scenario(classes, [toy_model("m", 20_000, **model)])


def test_the_curve_is_the_least_cost_of_each_rate():
    points = list(cost_curve(scenario(), PROFILES, PLANNER, [50.0, 51.0, 200.0, 250.0, 350.0]))
    assert [point.hourly_cost for point in points] == pytest.approx([1.0, 2.0, 3.0, 4.0, 6.0])
    assert [point.devices["cheap"] for point in points[:2]] == [1, 2]
    assert points[-1].devices == {"dear": 1, "cheap": 3}
    assert points[3].rates_rps == {"m": 250.0}
    assert [point.factor for point in cost_curve(scenario(), PROFILES, PLANNER, [351.0, 50.0])] == [50.0]
    with pytest.raises(BadInputError, match="hourly_cost to cheap"):
        list(cost_curve(scenario(hourly_cost=None), PROFILES, PLANNER, [1.0]))


def test_one_more_device_is_worth_its_rate():
    base = PLANNER.plan(scenario(), PROFILES)
    worth = list(worth_of_devices(scenario(), PROFILES, PLANNER, base))
    assert [(one.device_class, one.count) for one in worth] == [("dear", 1), ("cheap", 3)]
    assert [one.worth for one in worth] == pytest.approx([200.0, 50.0])
    assert [one.dual for one in worth] == pytest.approx([200.0, 50.0])
    assert all(one.least <= one.worth * (1 + 1e-6) and one.worth <= one.most * (1 + 1e-6) for one in worth)


def test_a_dual_is_not_the_worth_of_a_whole_device():
    # Two stages of 10 ms, each on a class of its own, two devices of the one and three of the other: the second
    # class has a device too many, and one more of the first makes a third pipeline.
    profile = toy_profile("m", {("x", 1): [[10_000], [90_000]], ("y", 1): [[90_000], [10_000]]})
    classes = {"x": DeviceClass(count=2), "y": DeviceClass(count=3), "z": DeviceClass(count=0)}
    asked = toy_scenario(classes, [toy_model("m", 20_000)])
    base = PLANNER.plan(asked, {"m": profile})
    assert base.objective == pytest.approx(200.0)
    x, y = worth_of_devices(asked, {"m": profile}, PLANNER, base)
    assert (x.worth, y.worth) == (pytest.approx(100.0), 0.0)


def test_for_cost_a_device_is_worth_what_it_saves():
    # 200/s on four cheap devices costs 4; a dear one would do it for 3. One more cheap device saves nothing.
    asked = aimed_at(scenario(dear=0, cheap=4, rate_rps=200.0), "cost")
    base = PLANNER.plan(asked, PROFILES)
    dear, cheap = worth_of_devices(asked, PROFILES, PLANNER, base)
    assert (dear.worth, dear.objective, dear.dual) == (pytest.approx(1.0), pytest.approx(3.0), None)
    assert cheap.worth == 0.0


def gathering(slo_us: int, **rate: float) -> Scenario:
    """A device serves 100/s one by one, 2/12 ms = 166.7/s in pairs, whose second sample takes 1.3/rate to come."""
    model = toy_model("m", slo_us, estimated_rps=None, **rate)
    return toy_scenario({"x": DeviceClass(count=1, hourly_cost=2.0)}, [model])


PAIRS = {"m": toy_profile("m", {("x", 1): [[10_000, 12_000]]})}


def test_the_most_that_is_served_gathers_no_faster_than_it_arrives():
    # Pairs fit 21 ms if 1.3/rate <= 9 ms, at 144.4/s and above: the device then serves 166.7/s. The estimate
    # starts at 100/s, where pairs take 25 ms, so the plan's own throughput is 100.
    asked = gathering(21_000)
    plan = PLANNER.plan(aimed_at(asked, "throughput"), PAIRS)
    assert plan.objective == pytest.approx(100.0)
    assert most_served(asked, PAIRS, PLANNER, plan.objective) == pytest.approx(100.0)
    # At 26 ms pairs fit from 92.9/s on, and all are served.
    asked = gathering(26_000)
    assert most_served(asked, PAIRS, PLANNER, 100.0) == pytest.approx(1000 / 6)


def test_an_estimate_too_high_is_not_what_can_be_demanded():
    # Two models on one device cannot both have a whole one, but the estimate takes parts of it: 83.3/s each in
    # pairs. As whole workers in halves of 50/s (no pairs at half the device) only 50/s are served.
    table = {("x", 1): [[10_000, 12_000]], ("x", 2): [[20_000, 30_000]]}
    models = [toy_model(name, 46_000, estimated_rps=None) for name in "mn"]
    classes = {"x": DeviceClass(count=1, max_share=2, hourly_cost=2.0)}
    asked = toy_scenario(classes, models, share_devices=True)
    profiles = {name: toy_profile(name, table) for name in "mn"}
    plan = PLANNER.plan(aimed_at(asked, "throughput"), profiles)
    assert plan.objective == pytest.approx(2e6 / 30_000)
    most = most_served(asked, profiles, PLANNER, plan.objective)
    assert most == pytest.approx(50.0, rel=2e-4)
    points = list(cost_curve(asked, profiles, PLANNER, [most, plan.objective]))
    assert [point.factor for point in points] == [most]


@pytest.mark.parametrize("slo_us", [20_000, 25_000, 26_000, 30_000])
@pytest.mark.parametrize("rate_rps", [60.0, 90.0, 120.0, 150.0, 170.0])
def test_a_demand_is_met_at_some_cost_just_where_the_throughput_is_one(slo_us: int, rate_rps: float):
    asked = gathering(slo_us, rate_rps=rate_rps)
    part = PLANNER.plan(aimed_at(asked, "throughput"), PAIRS).objective
    is_met = bool(list(cost_curve(asked, PAIRS, PLANNER, [1.0])))
    assert is_met == (part >= 1.0)
