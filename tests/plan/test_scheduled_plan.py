"""Plans whose devices are shared by turns: what they say, what the checker refuses, and who chooses them."""

import numpy as np
import pytest

from one_l4 import one_l4
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan, Verification
from penstock.plan.hold.closed_loop import plan_to_hold
from penstock.plan.interfaces import ModelScore, Score
from penstock.plan.questions.explain import explain
from penstock.plan.scheduled.choose import choose_share, why_chosen
from penstock.plan.scheduled.scheduled_plan import scheduled_plan


def by_turns(devices: int = 1) -> tuple[Plan, dict]:
    scenario, profiles = one_l4(devices=devices)
    return scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01), profiles


def test_rates_use_all_the_time_of_the_devices() -> None:
    # 15 x 4 ms + 60 ms = 120 ms a mix: 8.333 mixes a second on each device.
    for devices in (1, 3):
        plan, profiles = by_turns(devices)
        check_plan(plan, profiles)
        assert [model.rate_rps for model in plan.models] == pytest.approx([125 * devices, 25 / 3 * devices])
        assert plan.scheduled is not None
        assert plan.scheduled.segments == {"L4": {"a": [0, 1], "b": list(range(9))}}
        assert len(plan.placement) == 2 * devices
        assert {(w.device, w.model) for w in plan.placement} == {
            (device, model) for device in range(devices) for model in ("a", "b")
        }


def test_a_plan_survives_its_document() -> None:
    plan, profiles = by_turns()
    again = Plan.model_validate_json(plan.model_dump_json())
    assert again == plan
    check_plan(again, profiles)


def change(plan: Plan, **scheduled: object) -> Plan:
    assert plan.scheduled is not None
    return plan.model_copy(update={"scheduled": plan.scheduled.model_copy(update=scheduled)})


def faulty_stage(plan: Plan, **stage: object) -> Plan:
    models = [model.model_copy(deep=True) for model in plan.models]
    pipeline = models[1].pipelines[0]
    pipeline.stages[0] = pipeline.stages[0].model_copy(update=stage)
    return plan.model_copy(update={"models": models})


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (lambda p: change(p, order="best"), "scheduled.order"),
        (lambda p: change(p, late="wait"), "scheduled.late"),
        (lambda p: change(p, segments={"L4": {"a": [0, 1]}}), "segments of 'b' on L4: missing"),
        (lambda p: change(p, segments={"L4": {"a": [0, 1], "b": [0, 5, 4, 8]}}), "must rise from 0 to 8"),
        (lambda p: faulty_stage(p, inference_us=50_000), "inference_us 50000, the profile says 60000"),
        (lambda p: faulty_stage(p, batch=2), "batch 2"),
        (lambda p: faulty_stage(p, share=1), "2 models take turns"),
        (lambda p: faulty_stage(p, blocks=(0, 7)), "runs whole"),
        (lambda p: p.model_copy(update={"placement": p.placement[:1]}), "holds every model once"),
        (lambda p: p.model_copy(update={"shared_pools": True}), "shared_pools"),
        (
            lambda p: p.model_copy(
                update={
                    "models": [
                        p.models[0],
                        p.models[1].model_copy(update={"rate_rps": 2 * p.models[1].rate_rps}),
                    ]
                }
            ),
            "its pipelines sum to",
        ),
    ],
)
def test_the_checker_finds_every_lie(fault, says: str) -> None:
    plan, profiles = by_turns()
    with pytest.raises(BadInputError, match=says):
        check_plan(fault(plan), profiles)


def test_rates_that_the_devices_have_no_time_for_are_found() -> None:
    plan, profiles = by_turns()
    models = [model.model_copy(deep=True) for model in plan.models]
    for model in models:
        stage = model.pipelines[0].stages[0].model_copy(update={"rate_rps": 1.1 * model.rate_rps})
        model.pipelines[0] = model.pipelines[0].model_copy(
            update={"rate_rps": stage.rate_rps, "stages": [stage]}
        )
    models = [model.model_copy(update={"rate_rps": 1.1 * model.rate_rps}) for model in models]
    with pytest.raises(BadInputError, match=r"need 1\.100 devices"):
        check_plan(plan.model_copy(update={"models": models}), profiles)


def test_without_leave_of_the_scenario_it_is_refused_and_routed_policies_say_so() -> None:
    plan, profiles = by_turns()
    forbidden = plan.scenario.planner.model_copy(update={"scheduled": False})
    scenario = plan.scenario.model_copy(update={"planner": forbidden})
    with pytest.raises(BadInputError, match="does not allow it"):
        check_plan(plan.model_copy(update={"scenario": scenario}), profiles)
    with pytest.raises(BadInputError, match="take turns by segments"):
        dispatch_table(plan, profiles)


def test_no_class_that_runs_all_models_in_time_means_no_scheduled_plan() -> None:
    scenario, profiles = one_l4()
    tight = [model.model_copy(update={"slo_us": 3_000}) for model in scenario.models]
    with pytest.raises(InfeasibleError, match="alone within its SLO"):
        scheduled_plan(scenario.model_copy(update={"models": tight}), profiles, bound=0.0, miss_budget=0.01)


def score(*rates: float) -> Score:
    return Score(
        tuple(ModelScore(name, rate, 0.99, rate, rate) for name, rate in zip("ab", rates, strict=True))
    )


@pytest.mark.parametrize(("turns", "chosen"), [((75.0, 5.0), True), ((15.0, 1.0), False)])
def test_what_holds_more_is_chosen_and_explained(turns: tuple[float, float], chosen: bool) -> None:
    scenario, profiles = one_l4()
    plan, _ = by_turns()
    other = plan.model_copy(update={"scheduled": None})

    found = choose_share(
        scenario,
        profiles,
        lambda: (other, score(24.0, 1.6)),
        lambda candidate: score(*turns),
        bound=9.0,
        target=0.99,
    )
    assert (found.plan.scheduled is not None) == chosen
    words = why_chosen(found.plan.model_copy(update={"stats": found.stats}))
    assert ("turns by segments (scheduled)" in words[0]) == chosen
    assert f"a {turns[0]:.1f}/s, b {turns[1]:.1f}/s" in words[0]
    assert "a 24.0/s, b 1.6/s" in words[0]
    assert any("b in 8" in line for line in words) == chosen
    assert len(why_chosen(plan)) == 1  # how the devices are shared; nobody compared it
    assert why_chosen(other) == []


def test_one_kind_without_a_plan_leaves_the_other() -> None:
    scenario, profiles = one_l4()

    def none() -> tuple[Plan, Score]:
        raise InfeasibleError("no")

    found = choose_share(scenario, profiles, none, lambda candidate: score(75.0, 5.0), bound=9.0, target=0.95)
    assert found.plan.scheduled is not None
    # At a target of 95%, one request of twenty may miss.
    assert found.plan.scheduled.miss_budget == 0.05


def test_explain_reads_a_scheduled_plan() -> None:
    plan, profiles = by_turns()
    found = explain(plan, profiles)
    assert found.relaxation == pytest.approx(25 / 3)
    assert [one.model for one in found.slack] == ["a", "b"]


@pytest.mark.parametrize("allowed", [True, False])
def test_the_closed_loop_measures_it_only_if_allowed_and_states_verified_rates(allowed: bool) -> None:
    scenario, profiles = one_l4(scheduled=allowed)
    plan = plan_to_hold(
        scenario,
        profiles,
        evaluate=lambda candidate: score(75.0, 5.0) if candidate.scheduled else score(24.0, 1.6),
        paths=lambda rates: [[np.arange(0.0, 10.0, 1.0 / rate) for rate in rates]],
        confirm=lambda candidate, rates: [0.995, 0.992],
        verification=Verification(
            target=0.99, policy="reservation", arrivals="poisson", seconds=1.0, seeds=[1]
        ),
        rounds=1,
    )
    check_plan(plan, profiles)
    assert (plan.scheduled is not None) == allowed
    assert plan.verification is not None
    assert plan.verification.policy == ("moore-hodgson" if allowed else "reservation")
    verified = [model.verified.rate_rps for model in plan.models if model.verified]
    assert verified == ([75.0, 5.0] if allowed else [24.0, 1.6])
    assert ("held_scheduled_rps" in plan.stats) == allowed
