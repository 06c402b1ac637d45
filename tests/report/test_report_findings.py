"""What the report says of a record, against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from record_builder import column, toy_record
from test_report_page import toy_plan

from penstock.plan.documents.plan import Verification, WorkerPlacement
from penstock.record import Batches, Outcome, Record, Requests
from penstock.report.findings.batch_rows import BatchRows
from penstock.report.findings.counted import counted_rows
from penstock.report.findings.fleet_use import class_uses, cost_per_million_met
from penstock.report.findings.over_time import over_time
from penstock.report.findings.promises import stage_promises
from penstock.report.findings.time_parts import path_times
from penstock.report.findings.verdict import verdicts
from penstock.report.findings.worst_second import worst_second
from penstock.report.trace_events import trace_events


def two_stage_record() -> Record:
    """A batch of two requests through two stages, in us.

    Arrivals at 0 and 1000. Sent at 1500. Stage 0 runs from 2000 to 5000, the network takes 700, stage 1 queues for 300
    and runs from 6000 to 8000. Answers at 8100. SLO 10000.
    """
    arrival = column(0, 1_000)
    requests = Requests(
        model=column(0, 0), request=column(0, 1), arrival_us=arrival, deadline_us=arrival + 10_000,
        pipeline=column(0, 0), batch=column(7, 7), finish_us=column(8_100, 8_100),
        outcome=column(Outcome.MET, Outcome.MET),
    )  # fmt: skip
    batches = Batches(
        batch=column(7, 7), model=column(0, 0), pipeline=column(0, 0), stage=column(0, 1), worker=column(0, 1),
        size=column(2, 2), queued_us=column(1_500, 5_700), start_us=column(2_000, 6_000),
        end_us=column(5_000, 8_000), transfer_us=column(0, 700),
    )  # fmt: skip
    return Record(("toy",), requests, batches, "simulated")


def test_the_parts_of_a_request_add_up_to_its_slo():
    (path,) = path_times(two_stage_record())
    means = {part.label: part.mean_us for part in path.parts}
    assert means == {
        "gather": 500.0,  # 1000 for the first request, 0 for the second
        "wait 0": 500.0,
        "queue 0": 500.0,
        "inference 0": 3_000.0,
        "transfer 1": 700.0,
        "queue 1": 300.0,
        "inference 1": 2_000.0,
        "return": 100.0,
        "slack": 2_400.0,  # 1900 and 2900
    }
    assert sum(means.values()) == path.slo_us == 10_000


def test_rows_of_batches_by_stage():
    rows = BatchRows(two_stage_record().batches)
    wanted = column(7, 3)
    assert rows.first(wanted).tolist() == [0, -1]
    assert rows.last(wanted).tolist() == [1, -1]
    assert rows.stage(wanted, 1).tolist() == [1, -1]
    assert rows.stage(wanted, 2).tolist() == [-1, -1]


def test_a_verdict_names_the_largest_loss_and_its_place():
    """Two of four requests met their SLO: one was late after stage 0, one dropped before it."""
    (verdict,) = verdicts(toy_record(), toy_plan())
    assert not verdict.holds
    assert verdict.sentence.startswith("toy misses 99% by 49.0 points: ")
    assert {(loss.cause, loss.place, loss.points) for loss in verdict.losses} == {
        ("answered late", "after stage 0", 25.0),
        ("dropped early", "before stage 0", 25.0),
    }


def test_the_target_is_the_one_that_the_plan_was_verified_for():
    check = Verification(target=0.5, policy="penstock", arrivals="poisson", seconds=1.0, seeds=[1])
    plan = toy_plan().model_copy(update={"verification": check})
    (verdict,) = verdicts(toy_record(), plan)
    assert verdict.holds
    assert verdict.sentence == "toy holds 50%: 50.00% of its requests met their SLO."


def test_only_the_window_of_the_record_counts():
    """Requests arrive at 0, 1, 2 and 2.999999 s; the window leaves out the first."""
    about = {"window_start_us": 1_000_000, "window_stop_us": 3_000_000}
    record = replace(toy_record(), about=about)
    assert counted_rows(record).tolist() == [False, True, True, True]
    (verdict,) = verdicts(record, None)
    assert verdict.summary.attainment == pytest.approx(1 / 3)
    assert verdict.summary.offered_rps == pytest.approx(1.5)


def test_series_count_every_request_and_all_busy_time():
    record = toy_record()
    placed = [
        WorkerPlacement(
            worker=w, model="toy", pipeline=0, stage=0, slot=w, device_class="L4", host=0, device=w, share=1
        )
        for w in (0, 1)
    ]
    series = over_time(record, toy_plan().model_copy(update={"placement": placed}))
    steps_us = np.diff(series.edges_us)
    assert {o.text: int(n.sum()) for o, n in series.outcomes.items() if n.any()} == {
        "met": 2, "late": 1, "dropped:early": 1,
    }  # fmt: skip
    # 10 + 20 + 60 ms on two devices, and all of it before the last arrival.
    assert float((series.busy["L4"] * steps_us).sum() * 2) == pytest.approx(90_000)
    assert series.waiting.tolist()[-1] == 1


def test_a_client_that_left_is_neither_met_nor_missed():
    record = toy_record()
    outcome = record.requests.outcome.copy()
    outcome[outcome == Outcome.LATE] = Outcome.CANCELLED
    changed = replace(record, requests=replace(record.requests, outcome=outcome))
    assert worst_second(changed).missed == 1
    series = over_time(changed, None)
    left = series.outcomes[Outcome.CANCELLED]
    assert left.sum() == 1
    alone = left == sum(series.outcomes.values())
    assert np.isnan(series.attainment[alone]).all()


def test_the_worst_second_has_most_misses():
    """The late request arrives at 2 s and the dropped one 999999 us later."""
    worst = worst_second(toy_record())
    assert worst is not None
    assert (worst.start_us, worst.missed, worst.arrived) == (2_000_000, 2, 2)
    assert worst.rows.tolist() == [2]


def test_promises_compare_batches_of_the_planned_size():
    (promise,) = stage_promises(toy_record(), toy_plan())
    assert promise.actual_us == 20_000  # the median of 10, 20 and 60 ms; 10 are promised
    assert promise.slower == 2.0
    assert promise.sizes == (3,)


def test_idle_devices_and_the_cost_of_a_million():
    plan = toy_plan()
    cluster = plan.scenario.cluster
    priced = cluster.edited(device_classes={"L4": cluster.device_classes["L4"].edited(hourly_cost=3.6)})
    placed = [
        WorkerPlacement(
            worker=0, model="toy", pipeline=0, stage=0, slot=0, device_class="L4", host=0, device=1, share=1
        )
    ]
    scenario = plan.scenario.edited(cluster=priced)
    plan = plan.model_copy(update={"placement": placed, "scenario": scenario})
    (use,) = class_uses(plan)
    assert (use.available, use.used, use.idle, use.hosts) == (2, 1, 1, 1)
    found = verdicts(toy_record(), plan)
    goodput_rps = 2 / 3
    assert cost_per_million_met(plan, found) == pytest.approx(3.6 / 3600 / goodput_rps * 1e6)
    assert cost_per_million_met(toy_plan(), found) is None


def test_trace_events_hold_every_batch_and_request():
    document = json.loads(trace_events(two_stage_record(), None))
    events = document["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert [(event["tid"], event["ts"], event["dur"]) for event in slices] == [
        (0, 2_000, 3_000),
        (1, 6_000, 2_000),
    ]
    assert sum(event["ph"] == "b" for event in events) == sum(event["ph"] == "e" for event in events) == 2
