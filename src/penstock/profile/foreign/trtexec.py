"""``trtexec``: the performance summary of its log, or the file of ``--exportTimes``."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.profile.foreign.batch_times import BatchTime

# In the log of TensorRT 8 and 10: "[I] Latency: min = 5.38 ms, ..., median = 7.16 ms, ..., percentile(99%) = 12.9 ms".
# It includes the copies to and from the device, as a worker does.
_SUMMARY = re.compile(r"\bLatency: min = .*?median = ([\d.]+) ms.*?percentile\(99%\) = ([\d.]+) ms")
_SHAPE = re.compile(r"Input inference shapes?\s*:\s*\S+?=(\d+)x")


def is_trtexec(text: str) -> bool:
    """Whether ``text`` is a log of trtexec or its exported times."""
    return "=== Performance summary ===" in text or ('"latencyMs"' in text and text.lstrip().startswith("["))


def read_trtexec(text: str, path: Path, batch: int | None) -> list[BatchTime]:
    """The time of the batch that was run. ``batch`` goes before what the log says of its shapes."""
    if text.lstrip().startswith("["):
        try:
            found = _exported(json.loads(text), path, batch)
        except json.JSONDecodeError:
            found = None  # a log may begin with a bracket too
        if found is not None:
            return [found]
    summary = [
        match for match in _SUMMARY.finditer(text) if not text[: match.start()].endswith(("H2D ", "D2H "))
    ]
    if not summary:
        raise BadInputError(
            f"{path}: no line 'Latency: ... median = ... percentile(99%) = ...'. Run trtexec with --percentile=99, or "
            f"give the file of its --exportTimes."
        )
    shape = _SHAPE.search(text)
    size = batch if batch is not None else int(shape[1]) if shape else None
    if size is None:
        raise _no_batch(path)
    median_ms, p99_ms = map(float, summary[-1].groups())
    return [BatchTime(size, median_ms * 1e3, p99_ms * 1e3)]


def _exported(document: object, path: Path, batch: int | None) -> BatchTime:
    if batch is None:
        raise _no_batch(path)
    try:
        latency_ms = np.array([float(run["latencyMs"]) for run in document])  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError):
        raise BadInputError(
            f"{path}: not the file of trtexec's --exportTimes: runs need latencyMs."
        ) from None
    if not latency_ms.size:
        raise BadInputError(f"{path}: has no runs. Measure again.")
    p99_ms = float(np.quantile(latency_ms, 0.99, method="higher"))
    return BatchTime(batch, float(np.median(latency_ms)) * 1e3, p99_ms * 1e3)


def _no_batch(path: Path) -> BadInputError:
    return BadInputError(f"{path}: does not say which batch was run. Write it before the name: 8={path.name}")
