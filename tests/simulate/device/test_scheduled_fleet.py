"""Scheduled plans judged by the simulator: the worked example of the design, and several devices."""

import numpy as np
import pytest

from one_l4 import one_l4
from penstock.plan.scheduled.scheduled_plan import scheduled_plan
from penstock.simulate.device.mixes import JobArrivals
from penstock.simulate.device.scheduled_fleet import run_scheduled
from penstock.simulate.judge.evaluate import attainments, evaluate
from penstock.simulate.judge.trial import Trial
from penstock.traffic.spec import parse_arrivals


def test_one_l4_holds_three_times_what_two_halves_hold() -> None:
    # The design's figures at 99%: 77 + 5.2 a second by turns, 24 + 1.6 side by side. Both sides of them.
    scenario, profiles = one_l4()
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    trial = Trial(parse_arrivals("poisson"), seconds=60.0, seeds=(0, 1))
    assert attainments(plan, profiles, trial, [0.85 * 77, 0.85 * 5.2]).min() >= 0.99
    assert attainments(plan, profiles, trial, [1.25 * 77, 1.25 * 5.2]).min() < 0.99


def test_the_rates_found_are_in_proportion_and_hold() -> None:
    scenario, profiles = one_l4()
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    trial = Trial(parse_arrivals("poisson"), seconds=10.0, seeds=(0,))
    score = evaluate(plan, profiles, trial, target=0.9, tolerance=0.1)
    a, b = (model.held_rps for model in score.models)
    assert a == pytest.approx(15 * b)
    assert attainments(plan, profiles, trial, [a, b]).min() >= 0.9


def test_the_interval_is_over_the_seeds() -> None:
    """It was the last bracket of the search, at whose lower end the rate itself lay."""
    scenario, profiles = one_l4()
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    for seeds in ((0,), (0, 1, 2, 3)):
        trial = Trial(parse_arrivals("poisson"), seconds=5.0, seeds=seeds)
        for model in evaluate(plan, profiles, trial, target=0.9, tolerance=0.02).models:
            assert model.high_rps - model.held_rps == pytest.approx(model.held_rps - model.low_rps)
            assert (model.high_rps > 1.001 * model.held_rps) == (len(seeds) > 1)


def test_jobs_go_to_the_device_that_is_free_first() -> None:
    # Two devices. A long job takes device 0 until 60 ms; the short ones run on device 1 one after another, and the job
    # that comes at 60 ms finds both free.
    scenario, profiles = one_l4(devices=2)
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    jobs = JobArrivals(np.array([0.0, 1.0, 2.0, 60_000.0]), np.array([1, 0, 0, 0]))
    run = run_scheduled(plan, profiles, jobs)
    assert run.end_us.tolist() == [60_000.0, 4_001.0, 8_001.0, 64_000.0]
    assert run.start_us.tolist() == [0.0, 1.0, 4_001.0, 60_000.0]
    assert run.device[:3].tolist() == [0, 1, 1]
