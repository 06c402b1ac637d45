"""Summaries of a record, as the verbs that make records show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from penstock.cli.output import print_table

if TYPE_CHECKING:
    from penstock.report.summary import ModelSummary


def print_summaries(title: str, summaries: Sequence[ModelSummary]) -> None:
    """One row a model; misses by cause; latencies blank where nothing was answered."""
    columns = ["model", "requests", "offered/s", "attainment", "goodput/s", "p50 ms", "p99 ms", "misses"]
    print_table(title, columns, [_row(summary) for summary in summaries])


def _row(summary: ModelSummary) -> list[object]:
    misses = [f"{count} {cause}" for cause, count in summary.outcomes.items() if count and cause != "met"]
    return [
        summary.name,
        summary.requests,
        f"{summary.offered_rps:.1f}",
        f"{summary.attainment:.2%}" if summary.requests else "-",
        f"{summary.goodput_rps:.1f}",
        _ms(summary.p50_us),
        _ms(summary.p99_us),
        ", ".join(misses) or "-",
    ]


def _ms(latency_us: float) -> str:
    return "-" if latency_us < 0 else f"{latency_us / 1e3:.2f}"


def summary_document(summary: ModelSummary) -> dict[str, Any]:
    """One model's summary as JSON; latencies are -1 where nothing was answered."""
    return {
        "name": summary.name,
        "requests": summary.requests,
        "offered_rps": summary.offered_rps,
        "attainment": summary.attainment,
        "goodput_rps": summary.goodput_rps,
        "mean_us": summary.mean_us,
        "p50_us": summary.p50_us,
        "p99_us": summary.p99_us,
        "outcomes": dict(summary.outcomes),
    }
