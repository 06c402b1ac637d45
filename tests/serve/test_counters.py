"""What a server counts: files that several processes write, the page, and that every request has one outcome."""

from __future__ import annotations

import os
import runpy
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from serve_cases import bytes_profile, write_plan

from penstock.plan.documents.store import load_plan
from penstock.record import Outcome
from penstock.serve.dispatcher.dispatcher_metrics import DispatcherMetrics
from penstock.serve.gateway.ledger import Waiting
from penstock.serve.gateway.metrics import GatewayMetrics, statistics
from penstock.serve.messages import StageDone
from penstock.serve.observe.catalogue import (
    BUSY,
    FAMILIES,
    IN_FLIGHT,
    LATENCY,
    LINK,
    OUTCOMES,
    POOL_UP,
    REQUESTS,
    SLO,
    Ending,
    exported_names,
    outcome_of_status,
)
from penstock.serve.observe.counter_file import FOLDER, Counters, counters_path, read_counters
from penstock.serve.observe.exposition import metrics_page
from penstock.serve.observe.scrape import Page
from penstock.serve.prepare import ServeOptions, prepare

ROOT = Path(__file__).parents[2]
SERIES = [(REQUESTS, ("m", "met")), (IN_FLIGHT, ()), (LATENCY, ("m",)), (SLO, ("m",))]


def make_spec(folder, cuts=(0, 1), **changes):
    profile = bytes_profile("sizes", (24, 10, 10)[: len(cuts)])
    loaded = load_plan(write_plan(folder, profile, cuts, **changes))
    return prepare(loaded.plan, loaded.profiles, ServeOptions(executors={"": "emulated"}), folder)


def settled(metrics, outcome, *, arrival_us=0, dispatched_us=100, finish_us=900, deadline_us=2_000):
    request = Waiting(0, {}, 0, 1, arrival_us, deadline_us, lambda answer: None)
    request.outcome, request.dispatched_us, request.compute_us = outcome, dispatched_us, 700
    metrics.models[0].settled(request, finish_us, 12)


def page_of(totals):
    return Page(metrics_page(totals)[0].decode())


def test_files_of_several_processes_add_up(tmp_path):
    first, second = (Counters(SERIES, tmp_path / FOLDER / f"g{n}.counters") for n in range(2))
    first.cell(REQUESTS, ("m", "met")).add(3)
    second.cell(REQUESTS, ("m", "met")).add(4)
    first.cell(SLO, ("m",)).set(50)
    second.cell(SLO, ("m",)).set(50)
    first.histogram(LATENCY, ("m",)).observe(500)
    second.histogram(LATENCY, ("m",)).observe(20_000_000)
    totals = read_counters(tmp_path)
    assert totals[REQUESTS.name, ("m", "met")] == [7]
    assert totals[SLO.name, ("m",)] == [50]  # an objective is the same everywhere, not a sum
    slots = totals[LATENCY.name, ("m",)]
    assert (slots[0], slots[-2], slots[-1]) == (1, 1, 20_000_500)


def test_the_successor_of_a_dead_process_goes_on_counting(tmp_path):
    path = tmp_path / FOLDER / "g.counters"
    dead = Counters(SERIES, path)
    dead.cell(REQUESTS, ("m", "met")).add(3)
    dead.cell(IN_FLIGHT).set(5)
    alive = Counters(SERIES, path)
    alive.cell(REQUESTS, ("m", "met")).add(1)
    totals = read_counters(tmp_path)
    assert totals[REQUESTS.name, ("m", "met")] == [4]
    assert totals[IN_FLIGHT.name, ()] == [0]  # what the dead one held is not in flight any more
    other = Counters(SERIES[:1], path)  # another plan: other series, so a new file
    assert other.totals() == read_counters(tmp_path) == {(REQUESTS.name, ("m", "met")): [0]}


@given(st.lists(st.integers(0, 30_000_000), max_size=30))
def test_a_histogram_is_cumulative_and_whole(values):
    counters = Counters([(LATENCY, ("m",))])
    cells = counters.histogram(LATENCY, ("m",))
    for value in values:
        cells.observe(value)
    page = page_of(counters.totals())
    for bound, count in page.buckets(LATENCY.name).items():
        assert count == sum(value / 1e6 <= bound for value in values)
    assert page.total(LATENCY.name + "_count") == len(values)
    assert page.total(LATENCY.name + "_sum") == pytest.approx(sum(values) / 1e6)


def test_a_gateway_counts_outcomes_latency_and_slack(tmp_path):
    spec = make_spec(tmp_path)
    metrics = GatewayMetrics(spec.models, tmp_path)
    metrics.models[0].batch(2, 700)
    settled(metrics, Outcome.MET)
    settled(metrics, Outcome.LATE, finish_us=3_000)
    settled(metrics, Outcome.ERROR, finish_us=50)
    metrics.in_flight(3)
    page = page_of(metrics.totals())
    assert page.by(REQUESTS.name, "outcome")[("met",)] == 1
    # 900 us and 3,000 us: one up to 1 ms and to 2.5 ms, both in the end.
    buckets = page.buckets(LATENCY.name, model="sizes")
    assert [buckets[bound] for bound in (0.0005, 0.001, 0.0025, 0.005, float("inf"))] == [0, 1, 1, 2, 2]
    assert page.total("penstock_request_latency_seconds_sum") == 0.0039
    assert page.total("penstock_request_slack_seconds_sum") == 0.0011
    assert page.total("penstock_request_lateness_seconds_sum") == 0.001
    assert page.total("penstock_samples_in_flight") == 3
    assert page.total("penstock_model_slo_seconds", model="sizes") == 1.0
    (entry,) = statistics(spec.models[0], metrics.totals())["model_stats"]
    stats = entry["inference_stats"]
    assert stats["success"] == {"count": 2, "ns": 3_900_000}
    assert stats["fail"] == {"count": 1, "ns": 50_000}
    parts = ("queue", "compute_input", "compute_infer", "compute_output")
    assert sum(stats[part]["ns"] for part in parts) == stats["success"]["ns"]
    assert entry["batch_stats"] == [{"batch_size": 2, "compute_infer": {"count": 1, "ns": 700_000}}]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (400, "malformed"),
        (401, "unauthorized"),
        (404, "unknown-model"),
        (408, "timed-out"),
        (413, "too-large"),
        (415, "malformed"),
        (500, "error"),
        (503, "refused"),
    ],
)
def test_a_request_that_was_not_queued_has_one_outcome(tmp_path, status, outcome):
    metrics = GatewayMetrics(make_spec(tmp_path).models)
    metrics.turned_away(0, status)
    metrics.turned_away(None, status)
    assert outcome_of_status(status) == outcome
    counted = {
        key: n for key, n in page_of(metrics.totals()).by(REQUESTS.name, "model", "outcome").items() if n
    }
    assert counted == {("sizes", outcome): 1, ("", outcome): 1}


def test_outcomes_have_no_double():
    assert len(set(OUTCOMES)) == len(OUTCOMES) == len(Outcome) + len(Ending)


def done(stage, end_us, *, batch=0, worker=0, size=3):
    return StageDone(
        epoch=0,
        batch=batch,
        pipeline=0,
        stage=stage,
        worker=worker,
        size=size,
        queued_us=end_us - 1_500,
        start_us=end_us - 1_100,
        end_us=end_us,
        transfer_us=40,
    )


def test_a_dispatcher_counts_fill_utilisation_and_the_error_of_reservations(tmp_path):
    spec = make_spec(tmp_path, (0, 1, 2), batch=4, workers=2)
    metrics = DispatcherMetrics(tmp_path)
    metrics.add_plan(spec)
    for worker in range(3):
        metrics.worker_up(worker)
    metrics.worker_down(1)
    metrics.stage_done(done(0, 2_300), 2_000)
    metrics.stage_done(done(1, 4_400, worker=2), 5_000)
    metrics.stage_done(done(0, 9_000, size=1), None)  # nobody knows what was reserved: not an error
    metrics.stage_done(done(0, 9_000, worker=77), 1)  # of no worker of this plan
    metrics.batch_failed(2)
    page = page_of(read_counters(tmp_path))
    # Batches of 3 and 1, and 4 are planned: 0.75 is counted up to 0.8, 0.25 up to 0.3.
    fill = page.buckets("penstock_batch_fill_ratio", model="sizes", pipeline="0")
    assert [fill[bound] for bound in (0.2, 0.3, 0.7, 0.8)] == [0, 1, 1, 2]
    assert page.by("penstock_reservation_late_seconds_sum", "stage") == {("0",): 0.0003, ("1",): 0.0}
    assert page.by("penstock_reservation_early_seconds_sum", "stage") == {("0",): 0.0, ("1",): 0.0006}
    assert page.total("penstock_reservation_late_seconds_count") == 1
    assert page.by(BUSY.name, "pool", "device_class") == {("0", "gpu"): 0.0022, ("1", "gpu"): 0.0011}
    assert page.by(POOL_UP.name, "pool") == {("0",): 1, ("1",): 1}
    assert page.by("penstock_pool_workers", "pool") == {("0",): 2, ("1",): 2}
    assert page.by("penstock_pool_worker_failures_total", "pool") == {("0",): 1, ("1",): 0}
    assert page.by("penstock_batch_failures_total", "pool") == {("0",): 0, ("1",): 1}
    assert page.by("penstock_stage_wait_seconds_sum", "stage") == {("0",): 0.0008, ("1",): 0.0004}
    info = page.by("penstock_stage_info", "stage", "pool", "blocks")
    assert info == {("0", "0", "0-1"): 1, ("1", "1", "1-2"): 1}


def test_after_a_switch_counters_go_on_and_gauges_are_those_of_the_new_plan(tmp_path):
    before = make_spec(tmp_path)
    after = msgspec.structs.replace(
        before,
        epoch=1,
        first_worker=len(before.worker_stages),
        models=(msgspec.structs.replace(before.models[0], slo_us=70_000, max_batch=2),),
    )
    gateway, dispatcher = GatewayMetrics(before.models, tmp_path), DispatcherMetrics(tmp_path)
    dispatcher.add_plan(before)
    dispatcher.worker_up(0)
    gateway.models[0].batch(4, 100)
    settled(gateway, Outcome.MET)
    gateway.add_plan(1, after.models)
    dispatcher.add_plan(after)
    dispatcher.worker_up(1)
    page = page_of(read_counters(tmp_path))
    assert page.total(SLO.name, model="sizes") == 1.0  # not switched yet
    assert page.total(POOL_UP.name) == 2  # the workers of both plans
    gateway.serve(1)
    settled(gateway, Outcome.MET)
    gateway.end_plan(0)
    dispatcher.end_plan(0)
    page = page_of(read_counters(tmp_path))
    assert page.total(SLO.name, model="sizes") == 0.07
    assert page.by(REQUESTS.name, "outcome", model="sizes")[("met",)] == 2
    assert (page.total(POOL_UP.name), page.total("penstock_pool_workers")) == (1, 1)
    sizes = statistics(after.models[0], read_counters(tmp_path))["model_stats"][0]["batch_stats"]
    assert [entry["batch_size"] for entry in sizes] == [4]  # larger than the new plan's batches


def test_the_gauges_of_a_dead_process_are_left_out(tmp_path, monkeypatch):
    counters = Counters(SERIES, tmp_path / FOLDER / "g.counters")
    counters.cell(REQUESTS, ("m", "met")).add(3)
    counters.cell(IN_FLIGHT).set(5)

    def kill(process, number):
        assert (process, number) == (os.getpid(), 0)
        raise ProcessLookupError

    monkeypatch.setattr("penstock.serve.observe.counter_file.os.kill", kill)
    totals = read_counters(tmp_path)
    assert totals[REQUESTS.name, ("m", "met")] == [3]
    assert (IN_FLIGHT.name, ()) not in totals


def test_calls_are_counted_by_status():
    metrics = GatewayMetrics(())
    for status in (200, 200, 499, 418):
        metrics.answered("http", status)
    counted = page_of(metrics.totals()).by("penstock_answers_total", "protocol", "status")
    assert {key: n for key, n in counted.items() if n} == {
        ("http", "200"): 2,
        ("http", "499"): 1,
        ("http", "other"): 1,
    }


def test_both_formats_have_the_names_of_the_catalogue(tmp_path):
    spec = make_spec(tmp_path)
    GatewayMetrics(spec.models, tmp_path).measure(0)
    dispatcher = DispatcherMetrics(tmp_path)
    dispatcher.add_plan(spec)
    dispatcher.measure(0)
    links = Counters([(LINK, ("L4:0", "T4:0"))], counters_path(tmp_path, "links"))
    links.cell(LINK, ("L4:0", "T4:0")).set(2 * 10**9)
    totals = read_counters(tmp_path)
    text = metrics_page(totals)[0].decode()
    names = {line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")}
    assert names == exported_names() | {"penstock_build_info"}
    page, content_type = metrics_page(totals, "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(page.decode())} == {
        name.removesuffix("_total") for name, family in FAMILIES.items() if family.exported
    } | {"penstock_build"}
    assert Page(text).total("penstock_process_resident_memory_bytes", process="dispatcher") > 2**20


def test_the_reference_page_is_current():
    page = runpy.run_path(str(ROOT / "docs" / "write_metrics.py"))
    assert (ROOT / "docs" / "metrics.md").read_text() == page["page"]()
    assert set(page["MEANING"]) == set(OUTCOMES)
