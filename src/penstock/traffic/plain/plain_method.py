"""Plain: each stream is a renewal process, and its events are drawn one by one by their share.

``extra={"gaps": "exponential"}`` (default) makes each stream Poisson; ``"empirical"`` draws gaps anew from 256
quantiles of the class's own. Nothing depends on what came before. The bundle holds rates, shares and quantiles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.traffic.generator.held_out import held_out_scores, hold_out, scores_of
from penstock.traffic.generator.protocol import HEADER_FILE, VERSION, FitOptions, draw_classes, read_header
from penstock.traffic.plain.plain_kernel import draw_plain
from penstock.traffic.streams import Streams

POINTS = 256
GAPS = ("exponential", "empirical")


@dataclass(frozen=True)
class PlainGenerator:
    """``share`` (classes,), ``mix`` (classes, events), ``gap_us`` (classes, points): equally likely gaps; NaN: no
    data. ``scores`` are those on held-out streams, for the bundle."""

    events: tuple[str, ...]
    classes: tuple[str, ...]
    window_us: int
    share: F64
    mix: F64
    gap_us: F64
    hours: tuple[int | None, ...] = (None,)
    scores: Mapping[str, float] = field(default_factory=dict)
    method: str = "plain"

    def sample(
        self, streams: int, seed: int, *, mix: Mapping[str, float] | None = None, hour: int | None = None
    ) -> Streams:
        """As :meth:`penstock.traffic.generator.protocol.Generator.sample`. Raises for an hour or class without
        data."""
        if hour is not None and hour not in self.hours:
            raise BadInputError(
                f"hour (={hour}) is not in this bundle, which has {self.hours[0]}. Leave it out."
            )
        klass = draw_classes(dict(zip(self.classes, self.share, strict=True)), mix, streams, seed)
        for code in np.unique(klass).tolist():
            if np.isnan(self.gap_us[code, 0]):
                raise BadInputError(f"mix: class {self.classes[code]!r} has no streams in the trace.")
        key = int(np.random.default_rng([seed, 0x91A1]).integers(0, 2**62))
        sizes = np.zeros(streams, np.int64)
        ends = np.cumsum(self.mix, axis=1)
        none16, none64 = np.zeros(0, np.int16), np.zeros(0, np.int64)
        draw_plain(key, klass, self.gap_us, ends, self.window_us, none64, none16, none64, sizes)
        first = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        event, time_us = np.empty(first[-1], np.int16), np.empty(first[-1], np.int64)
        draw_plain(key, klass, self.gap_us, ends, self.window_us, first, event, time_us, sizes)
        return Streams(event, time_us, first, klass, self.events, self.classes, self.window_us)

    def save(self, folder: Path) -> None:
        """Write the bundle: one JSON document."""
        header = {
            "version": VERSION,
            "method": self.method,
            "hours": self.hours,
            "holds_trace": False,
            "events": self.events,
            "classes": self.classes,
            "window_us": self.window_us,
            "scores": dict(self.scores),
            "share": self.share.tolist(),
            "mix": self.mix.tolist(),
            "gap_us": [None if np.isnan(row[0]) else row.tolist() for row in self.gap_us],
        }
        (folder / HEADER_FILE).write_text(json.dumps(header) + "\n", encoding="utf-8")


def fit(streams: Streams, *, seed: int, options: FitOptions) -> PlainGenerator:
    """Rates, shares and gaps of each class. Raises for an unknown kind of gaps."""
    kind = str(options.extra.get("gaps", GAPS[0]))
    if kind not in GAPS:
        raise BadInputError(f"gaps (={kind!r}) must be one of {', '.join(GAPS)}.")
    if options.with_scores:
        held_out, own = hold_out(streams, seed)
        made = fit(own, seed=seed, options=replace(options, with_scores=False))
        return replace(made, scores=held_out_scores(made, own, held_out, options, seed))
    classes, events = len(streams.classes), len(streams.events)
    places = (np.arange(POINTS) + 0.5) / POINTS
    mix, gap_us = np.full((classes, events), 1.0 / events), np.full((classes, POINTS), np.nan)
    klass = streams.klass[streams.stream_of_event]
    for code in np.unique(streams.klass).tolist():
        own = klass == code
        mix[code] = np.bincount(streams.event[own], minlength=events) / own.sum()
        if kind == "exponential":
            # The rate is events over the time that all streams were watched.
            mean_us = streams.window_us * np.count_nonzero(streams.klass == code) / own.sum()
            gap_us[code] = -mean_us * np.log1p(-places)
        else:
            gap_us[code] = np.quantile(streams.gap_us[own], places)
    share = np.bincount(streams.klass, minlength=classes) / len(streams)
    return PlainGenerator(
        streams.events, streams.classes, streams.window_us, share, mix, gap_us, (options.hour,)
    )


def load(folder: Path) -> PlainGenerator:
    """The generator in ``folder``. Raises :class:`BadInputError` for a damaged bundle."""
    header = read_header(folder)
    try:
        gaps = [
            np.full(POINTS, np.nan) if row is None else np.array(row, np.float64) for row in header["gap_us"]
        ]
        found = PlainGenerator(
            tuple(map(str, header["events"])),
            tuple(map(str, header["classes"])),
            int(header["window_us"]),
            np.array(header["share"], np.float64),
            np.array(header["mix"], np.float64),
            np.stack(gaps),
            tuple(None if hour is None else int(hour) for hour in header["hours"]),
            scores_of(header, folder / HEADER_FILE),
        )
        classes, events = len(found.classes), len(found.events)
        sound = found.share.shape == (classes,) and found.mix.shape == (classes, events)
        sound = sound and found.gap_us.shape == (classes, POINTS) and found.window_us > 0
        sound = sound and bool((found.mix >= 0).all()) and not bool((found.gap_us.sum(axis=1) <= 0).any())
        sound = sound and not bool((found.gap_us < 0).any()) and len(found.hours) == 1
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{folder / HEADER_FILE}: is damaged ({error}). Fit the model anew.") from None
    if not sound:
        raise BadInputError(f"{folder / HEADER_FILE}: its tables do not fit together. Fit the model anew.")
    return found
