"""``perf_analyzer``: what it prints, or its CSV (``-f``). The row of concurrency 1 counts: nothing waits there.

The server's own parts (compute input, infer, output) are the worker's time. If they are stated, the network and the
client are left out, and the 99th percentile is the worker's time plus the client's percentile less its median.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path

from penstock.errors import BadInputError
from penstock.profile.foreign.batch_times import BatchTime

_PARTS = ("Server Compute Input", "Server Compute Infer", "Server Compute Output")
_PRINTED = re.compile(
    r"Request concurrency: 1\b.*?p50 latency: (?P<p50>\d+) usec.*?p99 latency: (?P<p99>\d+) usec"
    r"(?:(?:(?!Request concurrency).)*?compute input (?P<input>\d+) usec \+ compute infer (?P<infer>\d+) usec \+ "
    r"compute output (?P<output>\d+) usec)?",
    re.DOTALL,
)
_BATCH = re.compile(r"Batch size: (\d+)")


def is_perf_analyzer(text: str) -> bool:
    """Whether ``text`` is perf_analyzer's output or its CSV."""
    return "Request concurrency:" in text or text.lstrip().startswith("Concurrency,Inferences/Second")


def read_perf_analyzer(text: str, path: Path, batch: int | None) -> list[BatchTime]:
    """The time of the batch that was run. ``batch`` goes before what the text says."""
    if not text.lstrip().startswith("Concurrency,"):
        return [_printed(text, path, batch)]
    if batch is None:
        raise BadInputError(
            f"{path}: the CSV does not say which batch was run. Write it before the name: 8={path.name}"
        )
    rows = [row for row in csv.DictReader(io.StringIO(text.lstrip())) if row.get("Concurrency") == "1"]
    if not rows:
        raise BadInputError(f"{path}: has no row of concurrency 1. Run with --concurrency-range 1.")
    return [_of_row(rows[0], path, batch)]


def _of_row(row: Mapping[str, str], path: Path, batch: int) -> BatchTime:
    try:
        p50_us, p99_us = float(row["p50 latency"]), float(row["p99 latency"])
        own_us = sum(float(row[part]) for part in _PARTS) if all(row.get(part) for part in _PARTS) else 0.0
    except (KeyError, TypeError, ValueError):
        raise BadInputError(
            f"{path}: 'p50 latency' and 'p99 latency' must be numbers of microseconds."
        ) from None
    return _time(batch, p50_us, p99_us, own_us)


def _printed(text: str, path: Path, batch: int | None) -> BatchTime:
    found, stated = _PRINTED.search(text), _BATCH.search(text)
    if found is None:
        raise BadInputError(
            f"{path}: no p50 and p99 latency at request concurrency 1. Run with --concurrency-range 1."
        )
    parts = [found[name] for name in ("input", "infer", "output")]
    own_us = sum(map(float, parts)) if all(part is not None for part in parts) else 0.0
    size = batch if batch is not None else int(stated[1]) if stated else 1
    return _time(size, float(found["p50"]), float(found["p99"]), own_us)


def _time(batch: int, p50_us: float, p99_us: float, own_us: float) -> BatchTime:
    median_us = own_us or p50_us
    return BatchTime(batch, median_us, median_us + max(p99_us - p50_us, 0.0))
