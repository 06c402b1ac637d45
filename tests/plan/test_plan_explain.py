"""Explanations: what binds, derived by hand; and the identities that hold for any plan."""

from __future__ import annotations

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.plan.questions.explain import Explanation, explain
from penstock.profile.table import Profile

LIMITS = SearchLimits(gap=1e-6, time_limit_s=20)
# Whole model 20 ms on fast, 80 on slow; half on each 50 ms.
HALVES = toy_profile("m", {("fast", 1): [[10_000], [10_000]], ("slow", 1): [[40_000], [40_000]]})


def explained(scenario: Scenario, profiles: dict[str, Profile]) -> Explanation:
    return explain(PoolPlanner(LIMITS).plan(scenario, profiles).solution, profiles)


def fleet(fast: int, slow: int, slo_us: int) -> Scenario:
    return toy_scenario(
        {"fast": DeviceClass(count=fast), "slow": DeviceClass(count=slow)}, [toy_model("m", slo_us)]
    )


def test_the_scarce_class_binds_and_says_what_one_more_is_worth():
    # One fast and four of five slow devices serve 100/s. A second fast one: with five slow, 125/s in two
    # stages take 1.25 fast, and 0.75 fast devices serve 37.5/s whole: 162.5/s.
    found = explained(fleet(1, 5, 50_000), {"m": HALVES})
    assert found.relaxation == pytest.approx(100.0)
    fast, slow = found.classes
    assert (fast.used, fast.available, fast.binds) == (1, 1, True)
    assert fast.worth == pytest.approx(62.5)
    assert (slow.used, slow.available, slow.binds, slow.worth) == (4, 5, False, 0.0)


def test_slack_is_what_the_slo_leaves():
    [slack] = explained(fleet(1, 4, 53_000), {"m": HALVES}).slack
    assert (slack.inference_us, slack.transfer_us, slack.gather_us) == (50_000, 0, 0.0)
    assert slack.slack_us == 3_000
    assert slack.slack_share == pytest.approx(3 / 53)


def test_an_slo_binds_where_a_slower_pipeline_would_help():
    # The idle slow device could serve 12.5/s by itself, in 80 ms.
    [slo] = explained(fleet(1, 5, 50_000), {"m": HALVES}).slos
    assert (slo.better_slo_us, slo.worth) == (80_000, pytest.approx(12.5))
    assert "slow" in slo.pipeline and "fast" not in slo.pipeline
    # And the SLO named is the first: 79.999 ms admits nothing better.
    [before] = explained(fleet(1, 5, 79_999), {"m": HALVES}).slos
    assert before.better_slo_us == 80_000
    [enough] = explained(fleet(1, 5, 80_000), {"m": HALVES}).slos
    assert enough.better_slo_us is None


def test_a_class_that_misses_the_slo_says_by_how_much():
    found = explained(fleet(1, 2, 45_000), {"m": HALVES})
    [reason] = found.why_not
    assert (reason.device_class, reason.idle, reason.misses_by_us) == ("slow", 2, 5_000)
    assert reason.extra_cost is None


def test_a_class_that_fits_but_wants_scarce_devices_says_which():
    # Through slow the best pipeline is the plan's own; the fifth slow device lacks a fast one.
    [reason] = explained(fleet(1, 5, 50_000), {"m": HALVES}).why_not
    assert (reason.misses_by_us, reason.scarce) == (0.0, ["fast"])
    assert reason.extra_cost == pytest.approx(0.0, abs=1e-6)


def test_a_class_that_fits_but_does_not_pay_says_by_how_much():
    # Slow can take the first block, but then 10 MB go over the link of the fast device's host: 8 ms a
    # sample, 125/s for a fast device that serves the whole model at 500/s. Its price is that of its rate, so
    # the detour through the idle class costs 500 / 125 - 1 = 3 times more than it gives.
    profile = toy_profile(
        "m",
        {("fast", 1): [[1_000], [1_000]], ("slow", 1): [[1_000], [900_000]]},
        boundary_bytes=[0, 10_000_000, 0],
    )
    [reason] = explained(fleet(1, 1, 50_000), {"m": profile}).why_not
    assert (reason.device_class, reason.misses_by_us) == ("slow", 0.0)
    assert reason.extra_cost == pytest.approx(3.0)


def test_a_slow_link_is_named_where_it_limits_a_pool():
    # 1 ms a sample at 10 Gbit/s, two devices a host: 500/s for a worker that could do 1000/s.
    profile = toy_profile(
        "m", {("a", 1): [[1_000], [99_000]], ("b", 1): [[99_000], [100]]}, boundary_bytes=[0, 1_250_000, 0]
    )
    classes = {"a": DeviceClass(count=10, per_host=2), "b": DeviceClass(count=10)}
    found = explained(toy_scenario(classes, [toy_model("m", 2_100)]), {"m": profile})
    front, back = found.pools
    assert (front.limited_by, front.inference_rps) == ("interface", pytest.approx(1000.0 * front.workers))
    assert front.rate_rps == pytest.approx(500.0 * front.workers)
    assert back.limited_by == "interface"
    assert max(front.used, back.used) == pytest.approx(1.0)


def test_a_cost_binds_nothing_where_devices_are_left():
    scenario = toy_scenario(
        {"fast": DeviceClass(count=3, hourly_cost=2.0), "slow": DeviceClass(count=8, hourly_cost=0.1)},
        [toy_model("m", 50_000).demanding(100.0)],
    )
    scenario = scenario.model_copy(
        update={"planner": scenario.planner.model_copy(update={"objective": "cost"})}
    )
    found = explained(scenario, {"m": HALVES})
    # One fast and four slow devices: 2.40 an hour; slow whole at 80 ms would cost 0.80.
    assert found.relaxation == pytest.approx(2.4)
    assert not any(device_class.binds for device_class in found.classes)
    [slo] = found.slos
    assert (slo.better_slo_us, slo.worth) == (80_000, pytest.approx(1.6))
    # Both classes have devices left, so neither is scarce.
    assert [(reason.device_class, reason.scarce) for reason in found.why_not] == [("fast", []), ("slow", [])]
