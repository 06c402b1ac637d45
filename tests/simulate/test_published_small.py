"""The published mode on a tiny artifact: what the tests on the reference data show, for those who do not have it."""

from __future__ import annotations

import pytest

from penstock.errors import BadInputError
from penstock.plan.dispatch_table import dispatch_table
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.ppipe.simulator.load_factors import Experiment, load_factors
from penstock.ppipe.simulator.published import POLICIES
from ppipe_artifact import SOLO, write_artifact


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = write_artifact(tmp_path_factory.mktemp("tiny") / "artifact")
    profiles = read_profiles(folder)
    return read_plans(folder, profiles).plans, profiles


def test_no_plan_is_above_the_bound_by_device_time(tiny):
    for plan in tiny[0].values():
        assert 0 < plan.objective <= plan.stats["work_bound"] * (1 + 1e-9)
        assert plan.objective <= plan.bound * (1 + 1e-9)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("times", [1.0, 2.0])
def test_a_plan_holds_nearly_its_rate_and_no_more(tiny, policy, times):
    """Asked for twice its rate, a plan holds half of that: gaps are nearly equal, so little is lost to chance."""
    plans, profiles = tiny
    plan = plans[f"solo-{SOLO}-np"]
    rate_rps = plan.models[0].rate_rps
    experiment = Experiment(policy=policy, seconds=5.0, cv=0.05)
    found = load_factors(plan, dispatch_table(plan, profiles), [times * rate_rps], experiment)
    assert 0.85 <= found.values[0] * times <= 1.0
    assert found.requests > 0


def test_one_rate_a_model(tiny):
    plans, profiles = tiny
    plan = next(iter(plans.values()))
    with pytest.raises(BadInputError, match="one rate"):
        load_factors(plan, dispatch_table(plan, profiles), [1.0] * (len(plan.models) + 1), Experiment())
