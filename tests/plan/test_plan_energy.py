"""Power, memory besides weights, and load times: what devices are, in plans. By hand, and beside the objective cost."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass, DevicePower
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import Scenario
from penstock.plan.energy import plan_power
from penstock.plan.interfaces import SearchLimits
from penstock.plan.load_time import load_time, start_time
from penstock.plan.measured_where import machine_warnings, profile_warnings
from penstock.plan.planners.pool_planner import plan_templates
from penstock.plan.planning_question import PlanningQuestion
from penstock.plan.questions.difference import difference
from penstock.profile.measured_machine import Machine, WorkerCosts
from penstock.profile.table import BlockMemory, Profile, Provenance

EXACT = SearchLimits(gap=1e-9, time_limit_s=30)
# A fast device serves 200 requests/s, a slow one 50.
WHOLE = toy_profile("m", {("fast", 1): [[5_000]], ("slow", 1): [[20_000]]})


def planned(scenario: Scenario, profile: Profile) -> Plan:
    result = plan_templates(PlanningQuestion(scenario, {"m": profile}, EXACT, stages=2), "penstock")
    check_plan(result.solution, {"m": profile})
    return result.solution


def asked(rate_rps: float, *, fast_w: float = 300, slow_w: float = 70, objective: str = "energy") -> Scenario:
    classes = {
        "fast": DeviceClass(count=3, hourly_cost=fast_w, power_w=DevicePower(idle=50, busy=fast_w)),
        "slow": DeviceClass(count=9, hourly_cost=slow_w, power_w=DevicePower(idle=10, busy=slow_w)),
    }
    model = toy_model("m", 20_000, rate_rps=rate_rps)
    return toy_scenario(classes, [model], objective=objective)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rate_rps", "fast_w", "watts"),
    [
        (1.0, 300, 70.0),  # one slow device
        (200.0, 300, 280.0),  # four slow ones, not a fast one of 300 W
        (200.0, 250, 250.0),  # a fast one of 250 W
        (250.0, 250, 320.0),  # one of each
    ],
)
def test_the_devices_of_least_power_that_meet_the_demand(
    rate_rps: float, fast_w: float, watts: float
) -> None:
    plan = planned(asked(rate_rps, fast_w=fast_w), WHOLE)
    assert plan.objective == pytest.approx(watts)
    assert plan.bound == pytest.approx(watts)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 1000), st.integers(50, 500), st.integers(10, 500))
def test_energy_is_cost_with_watts_for_money(rate_rps: int, fast_w: int, slow_w: int) -> None:
    objectives = [
        planned(asked(rate_rps, fast_w=fast_w, slow_w=slow_w, objective=objective), WHOLE).objective
        for objective in ("energy", "cost")
    ]
    assert objectives[0] == pytest.approx(objectives[1])


def test_the_checker_counts_watts_itself() -> None:
    plan = planned(asked(200.0), WHOLE)
    wrong = plan.model_copy(update={"objective": 140.0, "bound": 140.0})
    with pytest.raises(BadInputError, match=r"objective 140.0, the devices used draw 280.0 W when busy"):
        check_plan(wrong, {"m": WHOLE})


def test_energy_needs_powers_and_demands() -> None:
    classes = {"fast": DeviceClass(count=1, hourly_cost=1.0)}
    with pytest.raises(ValueError, match="objective energy needs powers: give power_w to fast"):
        toy_scenario(classes, [toy_model("m", 20_000, rate_rps=1.0)], objective="energy")
    with pytest.raises(ValueError, match="objective energy needs a demand"):
        toy_scenario(classes, [toy_model("m", 20_000)], objective="energy")
    with pytest.raises(ValueError, match="are they exchanged"):
        DevicePower(idle=70, busy=10)


def test_power_at_the_planned_rates_by_hand() -> None:
    power = plan_power(planned(asked(150.0), WHOLE))
    assert power is not None
    # Three slow devices that compute all the time.
    assert power.busy_w == power.planned_w == pytest.approx(210)
    assert power.joules["m"] == pytest.approx(210 / 150)


def test_an_idle_part_is_paid_and_a_share_pays_its_part() -> None:
    # Two stages: 2 ms on a half of a device, then 4 ms on another half; the pipeline's rate is the second's, 250/s.
    profile = toy_profile("m", {("gpu", 2): [[2_000], [4_000]]})
    classes = {"gpu": DeviceClass(count=1, max_share=2, power_w=DevicePower(idle=100, busy=300))}
    scenario = toy_scenario(classes, [toy_model("m", 6_000)], share_devices=True)
    plan = planned(scenario, profile)
    stages = [stage for pipeline in plan.models[0].pipelines for stage in pipeline.stages]
    assert sum(stage.workers for stage in stages) == 2
    power = plan_power(plan)
    assert power is not None
    # However the halves are used, a device draws its idle power and 200 W for the part of it that computes.
    busy = sum(
        min(pipeline.rate_rps * stage.inference_us / 1e6 / stage.workers, 1.0) * stage.workers / 2
        for pipeline in plan.models[0].pipelines
        for stage in pipeline.stages
    )
    assert power.planned_w == pytest.approx(100 + 200 * busy)
    assert power.busy_w == 300


def test_without_powers_nothing_is_said() -> None:
    scenario = toy_scenario({"fast": DeviceClass(count=1)}, [toy_model("m", 20_000)])
    assert plan_power(planned(scenario, WHOLE)) is None


def memory_case(memory_gb: float, profile: Profile) -> Scenario:
    classes = {"gpu": DeviceClass(count=2, memory_gb=memory_gb)}
    return toy_scenario(classes, [toy_model("m", 20_000)])


def test_a_context_and_a_workspace_take_memory_too() -> None:
    """Weights of 1 GB a block; a context of 0.5 GB; workspaces of 0.2 and 0.3 GB, of which the larger counts."""
    plain = toy_profile("m", {("gpu", 1): [[1_000], [1_000]]}, parameter_bytes=10**9)
    memory = tuple(BlockMemory(10**9, 0, size) for size in (200_000_000, 300_000_000))
    profile = replace(plain, worker_costs={"gpu": WorkerCosts(500_000_000)}, block_memory={"gpu": memory})
    # The whole model takes 2 + 0.5 + 0.3 GB.
    plan = planned(memory_case(2.8, profile), profile)
    assert [len(one.stages) for one in plan.models[0].pipelines] == [1]
    assert len(planned(memory_case(2.79, profile), profile).models[0].pipelines[0].stages) == 2
    # A half takes 1.7 and 1.8 GB.
    with pytest.raises(InfeasibleError):
        planned(memory_case(1.79, profile), profile)
    # The checker agrees, of a plan that was made without them.
    small = planned(memory_case(2.79, plain), plain)
    with pytest.raises(BadInputError, match=r"out of memory: workers 0 need 2.800 GB, it has 2.79 GB"):
        check_plan(small, {"m": profile})


def test_load_times_of_a_change() -> None:
    before, after = planned(asked(50.0), WHOLE), planned(asked(150.0), WHOLE)
    change = difference(before, after)
    assert change.loads == 2
    assert load_time(change, {"m": WHOLE}).unknown == 2
    blocks = tuple(replace(block, parameter_bytes=2 * 10**9) for block in WHOLE.blocks)
    known = replace(WHOLE, blocks=blocks, worker_costs={"slow": WorkerCosts(0, 1_000_000, 250_000.0)})
    # A second, and 2 GB at a quarter of a second each.
    found = load_time(change, {"m": known})
    assert (found.longest_us, found.total_us, found.unknown) == (1_500_000, 3_000_000, 0)
    # A switch loads every worker of the new plan beside the old ones: three, of which one could have stayed.
    assert len(after.placement) == 3
    assert start_time(after, {"m": known}).total_us == 4_500_000
    assert start_time(after, {"m": known}).in_words == "the longest load takes 1.5 s, all 4.5 s"
    assert start_time(after, {"m": WHOLE}).in_words == ""


def on(machine: Machine, name: str = "m") -> Profile:
    provenance = Provenance("measured", "toy", "toy", "2026-01-01", machine=machine)
    return replace(toy_profile(name, {("fast", 1): [[5_000]]}), provenance=provenance)


def test_a_profile_of_another_device_is_told() -> None:
    classes = {"fast": DeviceClass(count=1, requires={"nvidia": "L4"})}
    scenario = toy_scenario(classes, [toy_model("m", 20_000), toy_model("n", 20_000)])
    l4, h100 = Machine("NVIDIA L4", "L4", "570.1"), Machine("NVIDIA H100 PCIe", "H100", "570.1")
    assert profile_warnings(scenario, {"m": on(l4), "n": on(l4, "n")}) == []
    required, unlike = profile_warnings(scenario, {"m": on(l4), "n": on(h100, "n")})
    assert "'fast' requires L4, but was measured on NVIDIA H100 PCIe (H100)" in required
    assert "profiles of m and n were not measured alike: device was L4, is H100" in unlike or (
        "device was H100, is L4" in unlike
    )


def test_a_machine_that_differs_from_the_profiles_is_told() -> None:
    scenario = toy_scenario({"fast": DeviceClass(count=1)}, [toy_model("m", 20_000)])
    here = Machine("NVIDIA L4", "L4", "580.2", power_limit_w=72.0, mps=False)
    measured = Machine("NVIDIA L4", "L4", "570.1", power_limit_w=72.0, mps=True)
    (said,) = machine_warnings(scenario, {"m": on(measured)}, {"fast": here})
    assert "driver was 570.1, is 580.2; multi-process service was on, is off" in said
    same = replace(measured, driver="580.2", mps=False)
    assert machine_warnings(scenario, {"m": on(same)}, {"fast": here}) == []
    assert machine_warnings(scenario, {"m": WHOLE}, {"fast": here}) == []


def test_another_executor_or_precision_than_was_measured_is_told() -> None:
    scenario = toy_scenario({"fast": DeviceClass(count=1)}, [toy_model("m", 20_000)])
    graphs = Machine("NVIDIA L4", "L4", "580.2", executor="torch (graph)", precision="tf32")

    def said(measured: Machine, **here: str) -> list[str]:
        return machine_warnings(scenario, {"m": on(measured)}, {"fast": replace(graphs, **here)})  # type: ignore[arg-type]

    assert said(graphs) == []
    (told,) = said(graphs, executor="onnxruntime (first provider that starts)", precision="fp32")
    assert "precision was tf32, is fp32; executor was torch, is onnxruntime" in told
    cuda = replace(graphs, executor="onnxruntime (CUDAExecutionProvider)")
    assert said(cuda, executor="onnxruntime (first provider that starts)") == []
    assert (
        "was onnxruntime (CUDAExecutionProvider), is onnxruntime (tensorrt)"
        in said(cuda, executor="onnxruntime (tensorrt)")[0]
    )
