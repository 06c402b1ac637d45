"""The summary's figures, each derived by hand from the four requests of the toy record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from record_builder import toy_record

from penstock.record import Outcome
from penstock.report.summary import summarise


def test_a_drop_and_a_late_answer_are_misses() -> None:
    (summary,) = summarise(toy_record())
    assert summary.requests == 4
    assert summary.attainment == 2 / 4
    assert summary.outcomes == {
        "met": 2, "late": 1, "dropped:early": 1, "dropped:deadline": 0, "error": 0, "cancelled": 0
    }  # fmt: skip


def test_a_client_that_left_is_in_no_attainment() -> None:
    record = toy_record()
    outcome = record.requests.outcome.copy()
    outcome[outcome == Outcome.LATE] = Outcome.CANCELLED
    (summary,) = summarise(replace(record, requests=replace(record.requests, outcome=outcome)))
    assert (summary.requests, summary.judged, summary.attainment) == (4, 3, 2 / 3)
    assert summary.outcomes["cancelled"] == 1


def test_rates_are_over_the_span_of_arrivals() -> None:
    (summary,) = summarise(toy_record())
    assert summary.offered_rps == pytest.approx(4 / 3.0)
    assert summary.goodput_rps == pytest.approx(2 / 3.0)


def test_latencies_are_of_answered_requests() -> None:
    (summary,) = summarise(toy_record())
    assert summary.p50_us == 20_000
    assert summary.mean_us == pytest.approx(30_000)


def test_a_window_leaves_out_the_warm_up() -> None:
    (summary,) = summarise(toy_record(), start_us=1_000_000, stop_us=3_000_000)
    assert summary.requests == 3
    assert summary.offered_rps == pytest.approx(1.5)
    assert summary.attainment == pytest.approx(1 / 3)


def test_an_empty_window_has_no_latency() -> None:
    (summary,) = summarise(toy_record(), start_us=10_000_000, stop_us=11_000_000)
    assert (summary.requests, summary.p50_us, summary.p99_us) == (0, -1.0, -1.0)
