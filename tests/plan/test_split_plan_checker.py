"""Plans with split stages: what the checker asks of them, what they need, and that others stay as they were."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from split_plans import split_plan

from penstock.errors import BadInputError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan, StagePlan
from penstock.plan.documents.scenario import PlannerSettings
from penstock.plan.energy import plan_power
from penstock.ppipe.export import plan_document

ROWS = [[10_000, 19_000, 28_000, 36_000], [4_000, 5_000, 6_000, 7_000]]


def test_a_plan_by_hand():
    # A batch of 3: pieces of 2 and 1 on three c0 (19 + 10 ms of work), together on one c1; 3 ms of transfer.
    plan, profiles = split_plan(3, [2, 1], [3, 1], ROWS, slo_us=28_000)
    first, last = plan.models[0].pipelines[0].stages
    assert (first.piece, first.inference_us, last.piece, last.inference_us) == (2, 19_000, 3, 6_000)
    assert first.rate_rps == pytest.approx(3 * 3e6 / 29_000)
    check_plan(plan, profiles)
    late, profiles = split_plan(3, [2, 1], [3, 1], ROWS, slo_us=27_998)
    with pytest.raises(BadInputError, match=r"takes 28000\.0 us"):
        check_plan(late, profiles)


def edit_stage(s: int, **fields: Any):
    return lambda document: document["models"][0]["pipelines"][0]["stages"][s].update(fields)


EDITS = {
    "not allowed": (
        lambda d: d["scenario"]["planner"].update(split_stages=1),
        r"stage 0: 2 pieces, the scenario allows 1 \(planner.split_stages\)",
    ),
    "whole": (edit_stage(0, pieces=1), "inference_us 19000, the profile says 28000"),
    "another stage": (
        edit_stage(1, pieces=2),
        "1 workers for 2 pieces, each piece needs a worker of its own",
    ),
    "an empty piece": (edit_stage(0, pieces=4), "4 pieces of a batch of 3, but 3 of at most 1 hold it"),
    "too few workers": (edit_stage(0, workers=1), "1 workers for 2 pieces"),
    "rate of the largest piece": (edit_stage(0, rate_rps=3 * 2e6 / 19_000), "3 workers sustain 310.34"),
    "another batch": (edit_stage(0, batch=4), "the first stage has 4"),
}


@pytest.mark.parametrize("name", EDITS)
def test_each_edit_is_found(name: str):
    plan, profiles = split_plan(3, [2, 1], [3, 1], ROWS)
    edit, message = EDITS[name]
    document = copy.deepcopy(plan.model_dump(mode="json"))
    edit(document)
    with pytest.raises(BadInputError, match=message):
        check_plan(Plan.model_validate(document, strict=False), profiles)


@st.composite
def split_plans(draw: st.DrawFn):
    """Up to three stages, batches up to 8, more work for more requests."""
    batch = draw(st.integers(1, 8))
    stages = draw(st.integers(1, 3))
    pieces, workers, rows = [], [], []
    for _ in range(stages):
        piece = draw(st.integers(1, batch))
        pieces.append(-(-batch // piece))
        workers.append(pieces[-1] + draw(st.integers(0, 3)))
        steps = draw(st.lists(st.integers(1, 9_000), min_size=8, max_size=8))
        rows.append([sum(steps[: k + 1]) for k in range(8)])
    return split_plan(batch, pieces, workers, rows)


@settings(max_examples=100, deadline=None)
@given(split_plans(), st.data())
def test_right_plans_pass_and_other_numbers_of_pieces_do_not(made: tuple[Plan, Any], data: st.DataObject):
    plan, profiles = made
    check_plan(plan, profiles)
    assert Plan.model_validate_json(plan.model_dump_json(), strict=False) == plan
    document = plan.model_dump(mode="json")
    stages = document["models"][0]["pipelines"][0]["stages"]
    stage = data.draw(st.sampled_from(stages))
    known = stage.get("pieces", 1)
    stage["pieces"] = data.draw(st.integers(1, 9).filter(lambda other: other != known))
    with pytest.raises(BadInputError):
        check_plan(Plan.model_validate(document, strict=False), profiles)


def test_memory_counts_a_piece():
    plan, profiles = split_plan(4, [4, 1], [4, 1], ROWS)
    block = [block.__class__(block.name, (), 0, 10**8) for block in profiles["m"].blocks]
    heavy = {"m": profiles["m"].__class__(**{**vars(profiles["m"]), "blocks": tuple(block)})}
    classes = plan.scenario.cluster.device_classes
    with_memory = {name: spec.edited(memory_gb=0.1) for name, spec in classes.items()}
    small = plan.edited(scenario=plan.scenario.with_device_classes(with_memory))
    with pytest.raises(BadInputError) as error:
        check_plan(small, heavy)
    # A piece of one request fits where the whole batch of four does not.
    assert re.findall(r"device \d of (c\d) is out of memory", str(error.value)) == ["c1"]


def test_what_is_not_split_is_written_as_before():
    stage = StagePlan(
        blocks=(0, 1),
        device_class="a",
        share=1,
        batch=2,
        workers=1,
        inference_us=9,
        transfer_us=0,
        rate_rps=1.0,
    )
    assert list(stage.model_dump()) == [
        "blocks", "device_class", "share", "batch", "workers", "inference_us", "transfer_us", "rate_rps",
    ]  # fmt: skip
    assert "split_stages" not in PlannerSettings().model_dump()
    assert stage.edited(pieces=2).model_dump()["pieces"] == 2


@pytest.mark.parametrize("pieces", [0, 65, -1, 1.5])
def test_split_stages_out_of_range(pieces: float):
    with pytest.raises(BadInputError, match="split_stages"):
        PlannerSettings().edited(split_stages=pieces)


def test_power_counts_all_pieces():
    plan, _ = split_plan(4, [2, 1], [2, 1], ROWS)
    assert plan_power(plan) is None  # no class has a power; the busy part is below
    powers = {
        name: spec.edited(power_w={"idle": 0.0, "busy": 100.0})
        for name, spec in plan.scenario.cluster.device_classes.items()
    }
    drawn = plan_power(plan.edited(scenario=plan.scenario.with_device_classes(powers)))
    assert drawn is not None
    # 2 pieces of 19 ms for 4 requests on two workers; 7 ms for 4 requests on one.
    rate = plan.models[0].rate_rps
    assert drawn.planned_w == pytest.approx(100 * rate / 4 * (2 * 0.019 + 0.007))


def test_the_artifact_has_no_split_stages():
    plan, profiles = split_plan(3, [2, 1], [3, 1], ROWS)
    with pytest.raises(BadInputError, match="split stages"):
        plan_document(plan, profiles)
