"""Small streams made by hand, and a machine to walk them through."""

from __future__ import annotations

import numpy as np

from penstock.traffic.streams import Streams


def streams_of(
    *rows: list[tuple[str, float]],
    klass: list[str] | None = None,
    window_s: float = 0,
    events: tuple[str, ...] = (),
) -> Streams:
    """One list a stream of (event, seconds)."""
    names = events or tuple(dict.fromkeys(name for row in rows for name, _ in row))
    classes = tuple(dict.fromkeys(klass)) if klass else ("all",)
    return Streams(
        np.array([names.index(name) for row in rows for name, _ in row], np.int16),
        np.array([round(seconds * 1e6) for row in rows for _, seconds in row], np.int64),
        np.cumsum([0, *map(len, rows)]).astype(np.int64),
        np.array([classes.index(name) for name in klass] if klass else [0] * len(rows), np.int16),
        names,
        classes,
        round(window_s * 1e6),
    )
