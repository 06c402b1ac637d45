"""Triton Model Analyzer: ``metrics-model-inference.csv``, all batches of a model in one file.

Rows of concurrency 1 count. If several configurations ran a batch, the fastest one is taken. The tool states the
average, or a median if it was asked for one, in milliseconds.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import BadInputError
from penstock.profile.foreign.batch_times import BatchTime, least

_P99 = "p99 Latency (ms)"
_MIDDLES = ("p50 Latency (ms)", "Avg Latency (ms)", _P99)
"""The first that the file has is the time of a batch; the percentile alone is an upper bound."""


def is_model_analyzer(text: str) -> bool:
    """Whether ``text`` is a table of Model Analyzer."""
    head = text.lstrip().partition("\n")[0]
    return "Model Config Path" in head and "Batch" in head


def read_model_analyzer(text: str, path: Path, batch: int | None) -> list[BatchTime]:
    """The times of every batch, or of ``batch`` alone."""
    rows = [
        row for row in csv.DictReader(io.StringIO(text.lstrip())) if row.get("Concurrency") in ("1", None)
    ]
    by_batch: dict[int, list[BatchTime]] = {}
    for row in rows:
        one = _of_row(row, path)
        if batch in (None, one.batch):
            by_batch.setdefault(one.batch, []).append(one)
    if not by_batch:
        raise BadInputError(
            f"{path}: has no row of concurrency 1{'' if batch is None else f' and batch {batch}'}."
        )
    return [least(by_batch[size]) for size in sorted(by_batch)]


def _of_row(row: Mapping[str, str], path: Path) -> BatchTime:
    middle = next((name for name in _MIDDLES if row.get(name)), None)
    try:
        p99_ms = float(row[_P99]) if row.get(_P99) else None
        return BatchTime(
            int(row["Batch"]), float(row[middle or _P99]) * 1e3, None if p99_ms is None else p99_ms * 1e3
        )
    except (KeyError, TypeError, ValueError):
        raise BadInputError(
            f"{path}: rows need Batch and one of {', '.join(_MIDDLES)}, as numbers. Export these metrics."
        ) from None
