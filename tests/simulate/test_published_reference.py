"""The published mode on plans of the reference data: load factors, and what its flaws explain."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.errors import BadInputError
from penstock.plan.dispatch_table import dispatch_table
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.ppipe.simulator.load_factors import Experiment, load_factors
from penstock.ppipe.simulator.network import Flaws

ARTIFACT = Path(__file__).parents[3] / "shared" / "data" / "ppipe-artifact"
GROUP = "maf19-colorization-v2-googlenet-v3-pytorch-repvgg-b3_0.3-0.33-0.37_L4-T4_25-75_bw-gbps-10_sla-multiplier-5"
ALONE = "ablation-colorization-v2_L4-T4_25-75_bw-gbps-10_sla-multiplier-5"

pytestmark = pytest.mark.data


@pytest.fixture(scope="module")
def reference():
    if not ARTIFACT.is_dir():
        pytest.skip("reference data ../shared/data/ppipe-artifact is absent")
    profiles = read_profiles(ARTIFACT)
    return read_plans(ARTIFACT, profiles).plans, profiles


def factors(reference, name, planner, experiment=Experiment()):  # noqa: B008  (frozen)
    plans, profiles = reference
    asked = plans[f"{name}-ppipe"]
    rates = [asked.objective * model.weight for model in asked.scenario.models]
    plan = plans[f"{name}-{planner}"]
    return load_factors(plan, dispatch_table(plan, profiles), rates, experiment).values


def test_pools_hold_nearly_their_planned_load_and_whole_models_what_they_plan(reference):
    assert min(factors(reference, GROUP, "ppipe")) >= 0.9
    plans, _ = reference
    asked, whole = plans[f"{GROUP}-ppipe"], plans[f"{GROUP}-np"]
    for value, model, own in zip(
        factors(reference, GROUP, "np"), asked.scenario.models, whole.models, strict=True
    ):
        planned = own.rate_rps / (asked.objective * model.weight)
        assert planned - 0.15 < value <= planned + 0.02


def test_consecutive_workers_on_one_interface_ruin_the_reactive_policy_not_reservations(reference):
    """The published pair of figures: 0.10 for the reactive policy here, 0.95 once workers are interleaved."""
    consecutive = Flaws(consecutive_workers=True)
    assert factors(reference, ALONE, "ppipe", Experiment(policy="reactive", flaws=consecutive)) == (0.1,)
    assert min(factors(reference, ALONE, "ppipe", Experiment(policy="reactive"))) >= 0.9
    assert min(factors(reference, ALONE, "ppipe", Experiment(flaws=consecutive))) >= 0.9


def test_one_rate_a_model(reference):
    plans, profiles = reference
    plan = plans[f"{ALONE}-ppipe"]
    with pytest.raises(BadInputError, match="one rate"):
        load_factors(plan, dispatch_table(plan, profiles), [1.0, 2.0], Experiment())
