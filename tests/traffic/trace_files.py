"""Tiny trace files, one of each format, made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from penstock.traffic.trace import Labels, Trace


def write(path: Path, *lines: str) -> Path:
    """A text file of these lines."""
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return path


def toy_trace(time_us: list[int], period_us: int, streams: list[int] | None = None) -> Trace:
    """A trace with streams by number, if any."""
    labels = None
    if streams is not None:
        names = tuple(f"s{code}" for code in range(max(streams) + 1))
        labels = Labels(np.array(streams, np.int64), names)
    return Trace(np.array(time_us, np.int64), period_us, stream=labels)
