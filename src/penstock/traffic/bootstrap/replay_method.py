"""Replay: each generated stream is one of the trace, drawn at random from its class.

The bundle holds the trace, and its header says so. Its streams are as real as streams can be, so it is the best
choice if the trace may be passed on. All its streams are copies, so it shows how a generator scores that copies.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.generator.protocol import (
    HEADER_FILE,
    VERSION,
    FitOptions,
    draw_classes,
    of_hour,
    read_header,
)
from penstock.traffic.streams import Streams, read_streams, select_streams, write_streams


@dataclass(frozen=True)
class ReplayGenerator:
    """The streams to draw from, by hour of the day; None is the hour of a trace that does not say."""

    streams: Mapping[int | None, Streams]
    method: str = "replay"

    @property
    def classes(self) -> tuple[str, ...]:
        """All classes of the trace's vocabulary."""
        return of_hour(self.streams, None).classes

    @property
    def window_us(self) -> int:
        """The window of each stream."""
        return of_hour(self.streams, None).window_us

    @property
    def hours(self) -> tuple[int | None, ...]:
        """Those of the traces."""
        return tuple(self.streams)

    def sample(
        self, streams: int, seed: int, *, mix: Mapping[str, float] | None = None, hour: int | None = None
    ) -> Streams:
        """As :meth:`penstock.traffic.generator.protocol.Generator.sample`. Raises for a class without streams."""
        own = of_hour(self.streams, hour)
        sizes = np.bincount(own.klass, minlength=len(own.classes))
        klass = draw_classes(dict(zip(own.classes, sizes / sizes.sum(), strict=True)), mix, streams, seed)
        empty = [code for code in np.unique(klass).tolist() if not sizes[code]]
        if empty:
            raise BadInputError(f"mix: class {own.classes[empty[0]]!r} has no streams in the trace.")
        by_class = np.argsort(own.klass, kind="stable")
        begin = np.cumsum(sizes) - sizes
        draws = np.random.default_rng([seed, 0xB007]).random(streams)
        return select_streams(own, by_class[begin[klass] + (draws * sizes[klass]).astype(np.int64)])

    def save(self, folder: Path) -> None:
        """Write the bundle, which holds the trace."""
        header = {"version": VERSION, "method": self.method, "hours": list(self.streams), "holds_trace": True}
        (folder / HEADER_FILE).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
        for number, streams in enumerate(self.streams.values()):
            write_streams(folder / f"streams-{number}.parquet", streams)


def fit(streams: Streams, *, seed: int, options: FitOptions) -> ReplayGenerator:
    """Keep ``streams``, beside the hours of ``start_from``; nothing is learned."""
    before = options.start_from.streams if isinstance(options.start_from, ReplayGenerator) else {}
    return ReplayGenerator({**{h: s for h, s in before.items() if h != options.hour}, options.hour: streams})


def load(folder: Path) -> ReplayGenerator:
    """The trace in ``folder``. Raises :class:`BadInputError` for a damaged bundle."""
    hours = read_header(folder).get("hours")
    if not isinstance(hours, list) or not hours or not all(h is None or h in range(24) for h in hours):
        raise BadInputError(
            f"{folder / HEADER_FILE}: hours (={hours!r:.40}) must be a list of hours. Fit anew."
        )
    return ReplayGenerator(
        {hour: read_streams(folder / f"streams-{number}.parquet") for number, hour in enumerate(hours)}
    )
