"""The page is whole, offline and well-formed; the use of pools is right."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from record_builder import toy_record

from penstock.cluster import Cluster, DeviceClass
from penstock.errors import BadInputError
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.record import Batches
from penstock.report.figures import to_svg
from penstock.report.findings.worst_second import worst_second
from penstock.report.page import Contents, Run, render
from penstock.report.pictures.gantt import gantt_picture
from penstock.report.pools import pool_uses


def toy_plan() -> Plan:
    stage = StagePlan(
        blocks=(0, 3), device_class="L4", share=1, batch=1, workers=2,
        inference_us=10_000, transfer_us=0, rate_rps=200.0,
    )  # fmt: skip
    return Plan(
        version=1,
        planner="penstock",
        objective=200.0,
        bound=201.0,
        gap=0.005,
        status="optimal",
        stats={},
        scenario=Scenario(
            version=1,
            cluster=Cluster(bandwidth_gbps=10.0, device_classes={"L4": DeviceClass(count=2)}),
            models=[ServedModel(name="toy", profile="p", slo_us=50_000)],
        ),
        models=[
            ModelPlan(
                name="toy",
                rate_rps=200.0,
                slo_us=50_000,
                margin_us=20_000,
                pipelines=[PipelinePlan(rate_rps=200.0, stages=[stage])],
            )
        ],
        placement=[],
    )


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def test_pool_use_by_hand() -> None:
    # Busy 10 + 20 + 60 ms on two workers from 0 to 2.06 s.
    (use,) = pool_uses(toy_record(), toy_plan())
    assert (use.batches, use.workers, use.mean_batch) == (3, 2, 1.0)
    assert use.utilisation == pytest.approx(90_000 / (2 * 2_060_000))


def test_the_use_of_a_shared_pool_is_that_of_all_its_stages() -> None:
    """Two models of one stage and two workers each, of which the record keeps them busy for 90 ms in all."""
    plan = toy_plan()
    other = plan.models[0].model_copy(update={"name": "other"})
    both = plan.model_copy(update={"models": [plan.models[0], other], "shared_pools": True})
    record = replace(toy_record(), models=("toy", "other"))
    (use,) = pool_uses(record, both)
    assert use.label == "toy p0 s0: [0, 3), other p0 s0: [0, 3) on L4"
    assert (use.batches, use.workers) == (3, 4)
    assert use.utilisation == pytest.approx(90_000 / (4 * 2_060_000))


def test_page_is_well_formed_and_loads_nothing() -> None:
    page = render(
        Contents("A <title>", {"pools": toy_plan()}, {"run": Run(toy_record(), toy_plan())}, ("a note",))
    )
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "A &lt;title&gt;" in page
    assert not {"script", "link", "img", "iframe"} & {tag for tag, _ in tags.seen}
    assert not re.search(r'(?:src|href)="(?!#|data:text/csv)', re.sub(r'xmlns\S*="[^"]*"', "", page))
    # Latency, over time, parts of the SLO, batch sizes, the worst second, use of the pools.
    assert page.count("<svg") == 6
    assert page.count('role="img"') == page.count("<svg")


def test_ids_do_not_collide_between_pictures() -> None:
    record = toy_record()
    page = render(Contents("t", {}, {"a": Run(record, toy_plan()), "b": Run(record, toy_plan())}))
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_same_input_same_bytes() -> None:
    contents = Contents("t", {"p": toy_plan()}, {"r": Run(toy_record(), toy_plan())})
    assert render(contents) == render(contents)


def test_a_record_of_another_plan_is_refused() -> None:
    record = replace(toy_record(), models=("other",))
    with pytest.raises(BadInputError, match="has models other, but the plan before it serves toy"):
        render(Contents("t", {}, {"r": Run(record, toy_plan())}))


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(BadInputError, match="at least one plan or record"):
        render(Contents("t"))


def test_a_bar_of_the_worst_second_is_a_batch_and_all_bars_of_a_model_are_one_path() -> None:
    # Batch k runs on worker k % 3 from 2k to 2k + 1 ms, so 500 batches start in the first second.
    record = toy_record()
    batch = np.arange(3000)
    zero = np.zeros_like(batch)
    busy = replace(
        record,
        batches=Batches(
            batch=batch, model=zero, pipeline=zero, stage=zero, worker=batch % 3, size=zero + 1,
            queued_us=2000 * batch, start_us=2000 * batch, end_us=2000 * batch + 1000, transfer_us=zero,
        ),
    )  # fmt: skip
    worst = worst_second(busy)
    assert worst is not None
    svg = to_svg(gantt_picture("run", busy, worst, None).figure)
    (path,) = [d for d in re.findall(r'<path d="([^"]*)"', svg) if d.count("z") > 1]
    corners = np.array(re.findall(r"[ML] (\S+) (\S+)", path), float).reshape(-1, 4, 2)
    assert len(corners) == len(worst.rows) == 500
    width, height = np.ptp(corners, axis=1).T
    assert np.ptp(width) < 0.03  # points: all batches take as long
    assert np.ptp(height) < 0.03
    assert len(np.unique(corners[:, 0, 1].round(1))) == 3  # one row for each worker
    assert np.diff(corners[:, 0, 0].reshape(-1)).min() > 0


def test_idle_reasons_are_asked_after_the_pictures_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr("penstock.report.page.to_svg", lambda *_, **__: done.append("picture") or "<svg/>")
    plan = toy_plan()
    page = render(
        Contents(
            "t",
            {"p": plan},
            {"r": Run(toy_record(), plan)},
            idle_reasons={"p": lambda: done.append("reasons") or ["too slow for the SLO"]},
        )
    )
    assert done == ["picture"] * 6 + ["reasons"]
    assert "too slow for the SLO" in page
