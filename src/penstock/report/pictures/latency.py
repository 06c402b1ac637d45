"""The latency distribution of a model, run beside run."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.arrays import F64
from penstock.record import Outcome, Record
from penstock.report.figures import finish, new_figure
from penstock.report.findings.counted import counted_rows
from penstock.report.pictures.picture import WIDTH_IN, Picture, csv_text
from penstock.units import US_PER_MS

MOST_POINTS = 400
"""The points of a curve: more would not be seen."""


def latency_picture(records: Mapping[str, Record], model: str, colours: Mapping[str, str]) -> Picture:
    """The share of *arrived* requests answered within each latency, with the SLO.

    A curve that ends below 100% shows drops and errors, because these never finish.
    """
    figure = new_figure(WIDTH_IN, 3.0)
    axes = figure.add_subplot()
    slo_ms, rows, words = 0.0, [], []
    for style, (name, record) in enumerate(records.items()):
        latency_ms, share, own_slo_ms = _curve(record, model)
        slo_ms = max(slo_ms, own_slo_ms)
        axes.step(
            latency_ms, share, where="post", color=colours[name], label=name, linewidth=1.8,
            linestyle=("-", (0, (5, 1.5)), (0, (2, 1.2)))[style % 3],
        )  # fmt: skip
        rows += [[name, float(at), float(value)] for at, value in zip(latency_ms, share, strict=True)]
        words.append(f"{name}: {_words(latency_ms, share)}")
    if slo_ms:
        axes.axvline(slo_ms, color="#888888", linestyle="--", linewidth=1)
        axes.annotate("SLO", (slo_ms, 3), xytext=(-3, 0), textcoords="offset points", ha="right", fontsize=9)
    axes.set(xlabel="latency from the intended send time (ms)", ylabel="requests answered (%)", ylim=(0, 101))
    axes.set_xlim(left=0)
    finish(axes)
    axes.legend(loc="best", frameon=False, fontsize=9)
    return Picture(
        caption=f"Latency distribution of {model}",
        alt=f"SLO {slo_ms:.1f} ms. " + "; ".join(words) + ".",
        figure=figure,
        csv=csv_text(["run", "latency_ms", "answered_percent"], rows),
    )


def _curve(record: Record, model: str) -> tuple[F64, F64, float]:
    """Latencies in ms, the share in % that was answered within each, and the SLO in ms."""
    requests = record.requests
    rows = counted_rows(record, record.models.index(model))
    answered = rows & np.isin(requests.outcome, (Outcome.MET, Outcome.LATE))
    latency_ms = np.sort((requests.finish_us - requests.arrival_us)[answered]) / US_PER_MS
    total = max(int(rows.sum()), 1)
    share = 100 * np.arange(1, latency_ms.size + 1) / total
    if latency_ms.size > MOST_POINTS:
        kept = np.unique(np.linspace(0, latency_ms.size - 1, MOST_POINTS).round().astype(np.int64))
        latency_ms, share = latency_ms[kept], share[kept]
    slo_us = (requests.deadline_us - requests.arrival_us)[rows]
    return latency_ms, share, float(slo_us.max()) / US_PER_MS if slo_us.size else 0.0


def _words(latency_ms: F64, share: F64) -> str:
    if not latency_ms.size:
        return "no request was answered"
    parts = [
        f"{percent}% within {latency_ms[np.searchsorted(share, percent)]:.1f} ms"
        for percent in (50, 99)
        if share[-1] >= percent
    ]
    return ", ".join([*parts, f"{share[-1]:.1f}% answered in all"])
