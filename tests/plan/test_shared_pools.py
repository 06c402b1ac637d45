"""Stages of a kind share their workers if the plan says so, and if the memory is large enough."""

from __future__ import annotations

import pytest

from penstock.errors import BadInputError, InfeasibleError
from penstock.files import read_json, validate
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.shared_pools import pools_of, stage_pools, with_shared_pools
from penstock.plan.documents.store import save_plan
from penstock.plan.questions.difference import difference
from penstock.plan.questions.explain import explain
from penstock.plan.replan.replanner import replan
from penstock.ppipe.export import plan_document
from shared_plans import two_models


def test_stages_of_one_class_share_and_place_get_one_pool():
    plan, profiles = two_models()
    shared = with_shared_pools(plan, profiles)
    assert [stage.device_class for m in plan.models for p in m.pipelines for stage in p.stages] == list(
        "abab"
    )
    assert stage_pools(plan) == [0, 1, 2, 3]
    assert stage_pools(shared) == [0, 1, 0, 1]
    assert [[stage.model for stage in pool.stages] for pool in pools_of(shared)] == [["m", "n"]] * 2
    assert [pool.workers for pool in pools_of(shared)] == [4, 4]
    assert [len(pool.stages) for pool in pools_of(plan)] == [1] * 4


def test_other_places_and_shares_stay_apart():
    plan, _ = two_models()
    document = plan.model_copy(update={"shared_pools": True}).model_dump()
    document["models"][1]["pipelines"][0]["stages"][0]["share"] = 2
    first = document["models"][0]["pipelines"][0]
    first["stages"] = [first["stages"][1], first["stages"][0]]
    # (b, place 0), (a, place 1), (half of a, place 0), (b, place 1)
    assert stage_pools(Plan.model_validate(document)) == [0, 1, 2, 3]


def test_the_table_shares_without_renumbering_workers():
    plan, profiles = two_models()
    own = dispatch_table(plan, profiles)
    table = dispatch_table(with_shared_pools(plan, profiles), profiles)
    assert not own.shares_pools
    assert table.stage_pool.tolist() == [0, 1, 0, 1]
    assert table.pool_of_worker.tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    for name in ("worker_offsets", "worker_host", "worker_device", "latency_us"):
        assert getattr(table, name).tolist() == getattr(own, name).tolist()


def test_lent_pools_keep_their_own_workers_and_name_their_lenders():
    plan, profiles = two_models()
    own, lent = (
        dispatch_table(one, profiles) for one in (plan, with_shared_pools(plan, profiles, lent=True))
    )
    assert not lent.shares_pools
    assert lent.lend_group.tolist() == [0, 1, 0, 1]
    assert lent._replace(lend_group=own.lend_group).pool_of_worker.tolist() == own.pool_of_worker.tolist()
    with pytest.raises(BadInputError, match="lent_pools: a worker can be lent only if it holds"):
        check_plan(plan.edited(lent_pools=True), profiles)


def test_a_worker_holds_every_piece_of_its_pool_and_the_largest_activation():
    """2 + 3 GB of parameters and 1 GB of activations, in either pool: 6 GB. A pool of its own needs 4."""
    plan, profiles = two_models(memory_gb=6.0)
    check_plan(with_shared_pools(plan, profiles), profiles)
    plan, profiles = two_models(memory_gb=5.9)
    check_plan(plan, profiles)
    words = (
        r"(?s)on 1/1 of a, stage 0, .*m \[0, 1\), n \[0, 1\), 6.000 GB, it has 5.900.*on 1/1 of b, stage 1"
    )
    with pytest.raises(InfeasibleError, match=words):
        with_shared_pools(plan, profiles)
    with pytest.raises(BadInputError, match=words):
        check_plan(plan.model_copy(update={"shared_pools": True}), profiles)


def test_a_piece_of_two_pipelines_counts_once():
    """Two equal pipelines of "n" beside the one of "m": the same 6 GB."""
    plan, profiles = two_models(memory_gb=6.0)
    model = plan.models[1]
    (pipeline,) = model.pipelines
    half = pipeline.model_copy(
        update={
            "rate_rps": pipeline.rate_rps / 2,
            "stages": [
                stage.model_copy(update={"workers": stage.workers // 2, "rate_rps": stage.rate_rps / 2})
                for stage in pipeline.stages
            ],
        }
    )
    stages = [(p, s) for p in (0, 1) for s in (0, 1)]
    moved = dict(zip([(0, 0), (1, 0), (0, 1), (1, 1)], plan.placement[4:], strict=True))
    placement = [
        moved[place].model_copy(update={"worker": 4 + at, "pipeline": place[0], "stage": place[1], "slot": 0})
        for at, place in enumerate(stages)
    ]
    twice = plan.model_copy(
        update={
            "models": [plan.models[0], model.model_copy(update={"pipelines": [half, half]})],
            "placement": plan.placement[:4] + placement,
        }
    )
    check_plan(with_shared_pools(twice, profiles), profiles)


def test_the_field_is_kept_in_the_file_and_old_files_have_none(tmp_path):
    plan, profiles = two_models()
    save_plan(with_shared_pools(plan, profiles), tmp_path / "plan.json", profiles)
    document = read_json(tmp_path / "plan.json")
    assert document.pop("shared_pools") is True
    assert validate(Plan, document, tmp_path).shared_pools is False


def test_a_difference_counts_the_pieces_that_each_worker_holds():
    """Eight workers with a piece each; shared, every one holds the other model's too."""
    plan, profiles = two_models()
    shared = with_shared_pools(plan, profiles)
    found = difference(plan, shared)
    assert (len(found.stays), len(found.moves), len(found.starts), len(found.stops)) == (8, 0, 8, 0)
    assert difference(shared, shared).loads == 0


def test_an_explanation_names_the_shared_pools():
    plan, profiles = two_models()
    assert explain(plan, profiles).shared_pools == []
    first, last = explain(with_shared_pools(plan, profiles), profiles).shared_pools
    assert (first.device_class, first.place, first.workers) == ("a", 0, 4)
    assert first.stages == ("m p0 [0, 1)", "n p0 [0, 1)")
    assert last.stages == ("m p0 [1, 2)", "n p0 [1, 2)")
    # Planned rates take all that two devices of 100/s give.
    assert (first.used, last.used) == (pytest.approx(1.0), pytest.approx(1.0))


def test_what_cannot_take_shared_pools_says_so():
    plan, profiles = two_models()
    shared = with_shared_pools(plan, profiles)
    with pytest.raises(BadInputError, match="shares its pools, but replanning"):
        replan(shared, shared.scenario, profiles)
    with pytest.raises(BadInputError, match="share their pools, but in the artifact's format"):
        plan_document(shared, profiles)
