"""The difference of two plans: workers that stay, move, start and stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_plans import toy_model, toy_scenario

from penstock.cluster import DeviceClass
from penstock.plan.documents.held_pieces import Piece, Running
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan, WorkerPlacement
from penstock.plan.questions.difference import Move, difference

CLASSES = {"gpu": DeviceClass(count=8, per_host=2, max_share=2)}
FRONT, BACK = Piece("m", 0, 1, 2, "gpu", 1), Piece("m", 1, 2, 2, "gpu", 1)


def plan_of(front: Sequence[int], back: Sequence[int], *, batch: int = 1, rate_rps: float = 1.0) -> Plan:
    """One model in two stages on the devices given: one worker an entry."""
    stages = [
        StagePlan(
            blocks=blocks,
            device_class="gpu",
            share=1,
            batch=batch,
            workers=len(devices),
            inference_us=1,
            transfer_us=0,
            rate_rps=rate_rps,
        )
        for blocks, devices in (((0, 1), front), ((1, 2), back))
    ]
    places = [(s, slot, d) for s, devices in enumerate((front, back)) for slot, d in enumerate(devices)]
    return Plan(
        version=1,
        planner="hand",
        objective=rate_rps,
        bound=rate_rps,
        gap=0.0,
        status="optimal",
        stats={},
        scenario=toy_scenario(CLASSES, [toy_model("m", 1000)]),
        models=[
            ModelPlan(
                name="m",
                rate_rps=rate_rps,
                slo_us=1000,
                margin_us=0,
                pipelines=[PipelinePlan(rate_rps=rate_rps, stages=stages)],
            )
        ],
        placement=[
            WorkerPlacement(
                worker=k,
                model="m",
                pipeline=0,
                stage=s,
                slot=slot,
                device_class="gpu",
                host=device // 2,
                device=device,
                share=1,
            )
            for k, (s, slot, device) in enumerate(places)
        ],
    )


def test_a_plan_does_not_differ_from_itself_nor_from_another_batch():
    found = difference(plan_of([0, 1], [2]), plan_of([1, 0], [2], batch=4, rate_rps=3.0))
    assert found.stays == [Running(FRONT, 0), Running(FRONT, 1), Running(BACK, 2)]
    assert found.loads == 0 and not found.stops
    assert dataclasses.astuple(found.rates[0]) == ("m", 1.0, 3.0)


def test_a_piece_that_leaves_one_device_and_appears_on_another_has_moved():
    # Front: 0 stays, 1 goes to 4. Back: 2 stops. Nothing else is loaded.
    found = difference(plan_of([0, 1], [2, 3]), plan_of([0, 4], [3]))
    assert found.moves == [Move(FRONT, 1, 4)]
    assert found.stops == [Running(BACK, 2)] and not found.starts
    assert [(d.used_before, d.used_after, d.available_after) for d in found.devices] == [(4, 3, 8)]


def test_moves_within_a_host_come_first():
    # Hosts hold devices 2h and 2h + 1: the piece on 6 goes to 7, so 0 is the source for 4.
    assert difference(plan_of([0, 6], [2]), plan_of([4, 7], [2])).moves == [
        Move(FRONT, 6, 7),
        Move(FRONT, 0, 4),
    ]


def test_devices_that_swap_their_pieces_load_two():
    found = difference(plan_of([0], [1]), plan_of([1], [0]))
    assert found.moves == [Move(BACK, 1, 0), Move(FRONT, 0, 1)] or found.moves == [
        Move(FRONT, 0, 1),
        Move(BACK, 1, 0),
    ]
    assert found.loads == 2


devices = st.lists(st.integers(0, 7), min_size=1, max_size=6)


@given(devices, devices, devices, devices)
def test_every_worker_of_both_plans_is_accounted_for_once(front, back, new_front, new_back):
    before, after = plan_of(front, back), plan_of(new_front, new_back)
    found, undone = difference(before, after), difference(after, before)
    assert len(found.stays) + len(found.moves) + len(found.stops) == len(before.placement)
    assert len(found.stays) + len(found.moves) + len(found.starts) == len(after.placement)
    # Undoing a change stops what it started.
    assert (found.starts, found.stops) == (undone.stops, undone.starts) or found.moves
    assert found.loads - len(found.starts) == undone.loads - len(undone.starts)
    # No piece both starts and stops: it would have moved.
    assert not {w.piece for w in found.starts} & {w.piece for w in found.stops}


def test_another_partition_of_the_model_shares_no_piece():
    old, new = plan_of([0], [1]), plan_of([0], [1])
    stages = [*new.models[0].pipelines[0].stages]
    stages[1] = stages[1].model_copy(update={"blocks": (1, 3)})
    pipeline = new.models[0].pipelines[0].model_copy(update={"stages": stages})
    model = new.models[0].model_copy(update={"pipelines": [pipeline]})
    found = difference(old, new.model_copy(update={"models": [model]}))
    assert not found.stays and len(found.starts) == len(found.stops) == 2


@pytest.mark.parametrize("piece", [FRONT, FRONT._replace(share=2)])
def test_a_piece_is_named_by_what_it_holds(piece):
    assert str(piece).startswith("m [0, 1) on gpu") and str(piece).endswith(
        "1/2" if piece.share == 2 else "gpu"
    )
