"""When devices are asked for and given back, by hand; forecasts, rungs, and the ladder in files."""

from __future__ import annotations

import json

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.plan.autoscale.forecast import DayBefore, KnownDay, LiveForecast
from penstock.plan.autoscale.ladder_file import LADDER, load_ladder
from penstock.plan.autoscale.rungs import (
    Rung,
    all_of,
    cheapest_plan,
    load_factor,
    rung_of,
    suffices,
    worthwhile,
)
from penstock.plan.autoscale.scaler import Scaler, ScalingRules
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner

RULES = ScalingRules(node_s=100, load_s=5, every_s=10, calm_s=50, safety=1.0)
RUNGS = [Rung(1.0, {"T4": 1}, 1.0), Rung(2.0, {"T4": 2}, 2.0), Rung(4.0, {"L4": 2}, 3.0)]


def test_what_is_missing_is_asked_for_at_once_and_nothing_is_given_back_before_the_switch():
    scaler = Scaler(RUNGS, RULES, 0)
    asked = scaler.step(0, 3.0, {"T4": 1}, 0)
    assert (asked.want, asked.serve) == ({"L4": 2, "T4": 1}, 0)
    come = scaler.step(10, 3.0, {"T4": 1, "L4": 2}, 0)
    assert (come.want, come.serve) == ({"L4": 2, "T4": 1}, 2)
    served = scaler.step(20, 3.0, {"T4": 1, "L4": 2}, 2)
    assert (served.want, served.serve) == ({"L4": 2}, 2)


def test_a_rung_between_serves_until_all_is_there():
    scaler = Scaler(RUNGS, RULES, 0)
    assert scaler.step(0, 4.0, {"T4": 2, "L4": 1}, 0).serve == 1
    assert scaler.step(10, 4.0, {"T4": 2, "L4": 1}, 1).serve == 1


def test_devices_are_given_back_after_the_calm_only():
    scaler = Scaler(RUNGS, RULES, 2)
    there = {"T4": 2, "L4": 2}
    assert scaler.step(0, 3.0, there, 2).serve == 2
    assert [scaler.step(now_s, 1.5, there, 2).serve for now_s in (10, 20, 30, 40, 50)] == [2] * 5
    assert scaler.step(60, 1.5, there, 2).serve == 1
    # A peak within the calm begins it anew.
    assert scaler.step(70, 3.0, there, 2).serve == 2
    assert scaler.step(110, 1.0, there, 2).serve == 2


def test_more_than_the_highest_rung_gets_the_highest():
    assert Scaler(RUNGS, RULES, 0).rung_for(100.0) == 2
    assert Scaler(RUNGS, RULES, 0).rung_for(1.0) == 0


def test_the_safety_counts_on_top_of_the_forecast():
    cautious = ScalingRules(node_s=1, load_s=1, every_s=10, calm_s=10, safety=1.5)
    scaler = Scaler(RUNGS, cautious, 0)
    scaler.step(0, 0.7, {"T4": 1}, 0)
    assert scaler.aim == 1


@pytest.mark.parametrize(
    "rules", [{"safety": 0.9}, {"every_s": 0.5}, {"node_s": -1.0}, {"calm_s": float("nan")}]
)
def test_rules_out_of_range_are_refused(rules):
    with pytest.raises(BadInputError, match=r"must be a number >="):
        ScalingRules(**rules)


def test_a_rise_is_carried_on_and_a_fall_is_not():
    rising, falling = LiveForecast(), LiveForecast()
    for window in range(1, 11):
        rising.observe(60.0 * window, float(window))
        falling.observe(60.0 * window, 20.0 - window)
    assert rising.peak(600.0, 120.0) == pytest.approx(12.0)
    assert falling.peak(600.0, 120.0) == pytest.approx(14.5)  # the mean, as the last window has less
    assert LiveForecast().peak(0.0, 60.0) == 0.0


def test_a_load_long_ago_is_forgotten():
    forecast = LiveForecast()
    forecast.observe(0.0, 9.0)
    forecast.observe(1_000.0, 1.0)
    assert forecast.peak(1_000.0, 60.0) == 1.0


def test_a_known_day_looks_ahead_and_repeats_and_the_live_load_counts_if_it_is_more():
    day = KnownDay([1.0, 2.0, 5.0, 1.0], 60.0)
    assert [day.peak(at_s, 60.0) for at_s in (0.0, 60.0, 61.0, 180.0, 240.0)] == [1.0, 2.0, 5.0, 1.0, 1.0]
    assert day.peak(0.0, 121.0) == 5.0
    day.observe(60.0, 3.0)
    assert day.peak(60.0, 60.0) == 3.0


HOUR_S = 3_600.0


def after_a_day(*hours_of_today, peak_at=12, level=1.0):
    """A day of load 1 with a peak of 3 in one window of an hour, and the first hours of the next day."""
    forecast = DayBefore()
    for hour in range(24):
        forecast.observe((hour + 1) * HOUR_S, (3.0 if hour == peak_at else 1.0) * level)
    for hour, load in enumerate(hours_of_today):
        forecast.observe((25 + hour) * HOUR_S, load)
    return forecast, (24 + len(hours_of_today)) * HOUR_S


@pytest.mark.parametrize(
    ("hours", "expected"), [(10, 1.0), (11, 3.0), (12, 3.0), (13, 3.0), (14, 3.0), (15, 1.0)]
)
def test_the_peak_of_a_day_ago_counts_an_hour_before_and_after(hours, expected):
    """It was seen at the end of its hour, 13 h."""
    forecast, now_s = after_a_day(*(3.0 if hour == 12 else 1.0 for hour in range(hours)))
    assert forecast.peak(now_s, HOUR_S) == pytest.approx(expected)


@pytest.mark.parametrize(("today", "expected"), [(1.5, 4.5), (0.8, 2.4), (9.0, 9.0), (0.1, 1.5)])
def test_a_day_of_another_level_scales_the_day_before_within_bounds(today, expected):
    forecast, now_s = after_a_day(*[today] * 11)
    assert forecast.peak(now_s, HOUR_S) == pytest.approx(expected)


def test_the_level_is_that_of_the_last_hours():
    forecast, now_s = after_a_day(*[2.0] * 5, *[1.0] * 6)
    assert forecast.peak(now_s, HOUR_S) == pytest.approx(3.0)


def test_on_the_first_day_only_the_last_minutes_count():
    first, live = DayBefore(), LiveForecast()
    assert first.peak(0.0, 60.0) == 0.0
    for window in range(1, 11):
        first.observe(60.0 * window, float(window))
        live.observe(60.0 * window, float(window))
    assert first.peak(600.0, 120.0) == live.peak(600.0, 120.0) == pytest.approx(12.0)


def test_more_load_than_a_day_ago_counts_at_once():
    forecast, now_s = after_a_day(1.0, 1.0, 2.5)
    assert forecast.peak(now_s, 60.0) == pytest.approx(2.5)


def test_a_rung_that_another_beats_is_left_out():
    rungs = [
        Rung(1.0, {}, 2.0),
        Rung(2.0, {}, 2.0),
        Rung(3.0, {}, 4.0),
        Rung(3.0, {}, 5.0),
        Rung(4.0, {}, 3.0),
    ]
    assert worthwhile(rungs) == [1, 4]


def test_devices_and_loads_are_compared():
    assert all_of({"a": 1, "b": 2}, {"b": 1, "c": 3}) == {"a": 1, "b": 2, "c": 3}
    assert suffices({"a": 2}, {"a": 2})
    assert not suffices({"a": 2}, {"a": 2, "b": 1})
    assert load_factor([30.0, 10.0], [10.0, 20.0]) == 3.0


def test_a_rung_is_a_plan_of_least_cost():
    """A dear device serves 200/s for 3 an hour, a cheap one 50/s for 1: 250/s cost 4, and 400/s cannot be had."""
    profiles = {"m": toy_profile("m", {("dear", 1): [[5_000]], ("cheap", 1): [[20_000]]})}
    classes = {
        "dear": DeviceClass(count=1, hourly_cost=3.0),
        "cheap": DeviceClass(count=3, hourly_cost=1.0),
    }
    scenario = toy_scenario(classes, [toy_model("m", 20_000, rate_rps=50.0)])
    planner = PoolPlanner(SearchLimits(gap=1e-9, time_limit_s=30))
    plan = cheapest_plan(scenario, profiles, planner, 5.0)
    assert plan is not None
    assert rung_of(plan, 4.5) == Rung(4.5, {"dear": 1, "cheap": 1}, 4.0)
    assert cheapest_plan(scenario, profiles, planner, 8.0) is None


def test_a_folder_that_is_no_ladder_is_bad_input(tmp_path):
    with pytest.raises(BadInputError, match=r"has no ladder.json. Make a ladder with 'penstock autoscale"):
        load_ladder(tmp_path)
    rung = {"plan": "rung-1.json", "factor": 2.0, "devices": {"T4": 1}, "hourly_cost": 1.0}
    rules = {"node_s": 1, "load_s": 1, "every_s": 60, "calm_s": 1, "safety": 1.1}
    whole = {"version": 1, "base_rps": {"m": 5}, "rules": rules, "rungs": [rung]}
    (tmp_path / LADDER).write_text(json.dumps(whole))
    with pytest.raises(BadInputError, match=r"lacks rung-1.json"):
        load_ladder(tmp_path)
    (tmp_path / LADDER).write_text(json.dumps(whole | {"rungs": [rung, rung]}))
    with pytest.raises(BadInputError, match="must rise in factor"):
        load_ladder(tmp_path)
