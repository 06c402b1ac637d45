"""What a rate costs, and what one more device is worth: by hand."""

from __future__ import annotations

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.capacity import aimed_at, cost_curve, worth_of_devices
from penstock.plan.planner import SearchLimits
from penstock.plan.pools import PoolPlanner
from penstock.plan.scenario import Scenario

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
    with pytest.raises(InfeasibleError):
        list(cost_curve(scenario(), PROFILES, PLANNER, [351.0]))
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
