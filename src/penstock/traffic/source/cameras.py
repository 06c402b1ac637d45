"""Cameras: each sends a frame every 1 / fps seconds, from a phase of its own, with a jitter on each frame."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.arrays import I64
from penstock.traffic.arrivals import Arrivals, check_draw
from penstock.traffic.options import Options
from penstock.units import US_PER_S

MOST_FPS = 1_000.0


@dataclass(frozen=True)
class Cameras:
    """An arrival source in which a stream is a camera, and each camera asks one model.

    With ``fps`` alone, a load has as many cameras as its rate needs. With ``count`` alone, each model has ``count``
    cameras, whose frame rate follows from the model's rate. With both, the load is theirs, whatever rate is asked
    for: the cameras are divided among the models in the proportion of the rates.

    ``jitter_s``: each frame is late by a uniform time up to it. Phases are uniform over a period, drawn once a
    camera: so frames of different cameras that come together do so for the whole run.
    """

    count: int | None
    fps: float | None
    jitter_s: float = 0.0

    def draw(self, rates_rps: Sequence[float], seconds: float, rng: np.random.Generator) -> Arrivals:
        """As :meth:`penstock.traffic.arrivals.ArrivalSource.draw`; cameras are numbered over the models."""
        for rate_rps in rates_rps:
            check_draw(rate_rps, seconds)
        own = rng.spawn(len(rates_rps))
        numbers = self._numbers(rates_rps, own, rng)
        fps = [self._fps(rate_rps) for rate_rps in rates_rps]
        check_draw(sum(n * f for n, f in zip(numbers, fps, strict=True)), seconds)
        parts = [self._frames(*one, seconds) for one in zip(numbers, fps, own, strict=True)]
        time_us = np.concatenate([np.zeros(0, np.int64), *(times for times, _ in parts)])
        begin = np.cumsum([0, *numbers])
        stream = np.concatenate(
            [np.zeros(0, np.int64), *(s + b for (_, s), b in zip(parts, begin, strict=False))]
        )
        model = np.repeat(np.arange(len(parts)), [len(times) for times, _ in parts])
        order = np.argsort(time_us, kind="stable")
        return Arrivals(time_us[order], model[order].astype(np.int64), stream=stream[order])

    def streams_for(self, rates_rps: Sequence[float]) -> float:
        """How many cameras there are at these rates, in the mean."""
        if self.own_rate_rps() is not None:
            return float(self.count or 0)
        return sum(self._cameras(rate_rps) for rate_rps in rates_rps)

    def own_rate_rps(self) -> float | None:
        """The rate of all models together, if it does not follow from the rate asked for."""
        return None if self.count is None or self.fps is None else self.count * self.fps

    def _numbers(
        self, rates_rps: Sequence[float], own: Sequence[np.random.Generator], rng: np.random.Generator
    ) -> list[int]:
        """Cameras of each model. A part of a camera is a camera with that probability."""
        if self.own_rate_rps() is None:
            wanted = [self._cameras(rate_rps) for rate_rps in rates_rps]
            return [
                math.floor(w) + int(r.random() < w - math.floor(w)) for w, r in zip(wanted, own, strict=True)
            ]
        # A systematic sample: the sum is the count, and each model's mean its share.
        total = sum(rates_rps)
        if not total:
            return [0] * len(rates_rps)
        assert self.count is not None
        bounds = np.cumsum([0.0, *rates_rps]) / total * self.count + rng.random()
        bounds[-1] = bounds[0] + self.count
        return [int(number) for number in np.diff(np.floor(bounds))]

    def _cameras(self, rate_rps: float) -> float:
        if not rate_rps:
            return 0.0
        return float(self.count) if self.count is not None else rate_rps / self._fps(rate_rps)

    def _fps(self, rate_rps: float) -> float:
        if self.fps is not None:
            return self.fps
        assert self.count is not None
        return rate_rps / self.count

    def _frames(self, count: int, fps: float, rng: np.random.Generator, seconds: float) -> tuple[I64, I64]:
        """Sorted times in [0, ``seconds``) of ``count`` cameras in microseconds, and the camera of each."""
        if not (count and fps):
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        period_s = 1.0 / fps
        phases_s = rng.random(count) * period_s
        # Frames before 0 may be late into the window.
        frames = np.arange(-math.ceil(self.jitter_s * fps), math.ceil(seconds * fps) + 1)
        times_s = (phases_s[:, None] + frames[None, :] * period_s).ravel()
        times_s += rng.random(len(times_s)) * self.jitter_s
        kept = (times_s >= 0) & (times_s < seconds)
        time_us = np.rint(times_s[kept] * US_PER_S).astype(np.int64)
        camera = np.repeat(np.arange(count), len(frames))[kept]
        order = np.argsort(time_us, kind="stable")
        return time_us[order], camera[order].astype(np.int64)


def parse_cameras(options: Options, _: Path) -> Cameras:
    """``cameras:count=,fps=,jitter=``: jitter in seconds; one of the others, or both to fix the load."""
    count, fps, jitter_s = (options.number(key) for key in ("count", "fps", "jitter"))
    options.finish()
    if count is None and fps is None:
        raise options.error(
            "give fps (frames a second of each camera) or count (of cameras): cameras:fps=30."
        )
    if count is not None and not (count >= 1 and count == math.floor(count)):
        raise options.error(f"count (={count:g}) must be a whole number of cameras >= 1.")
    if fps is not None and not 0 < fps <= MOST_FPS:
        raise options.error(f"fps (={fps:g}) must be above 0 and at most {MOST_FPS:g} frames a second.")
    if jitter_s is not None and not 0 <= jitter_s <= 60:
        raise options.error(f"jitter (={jitter_s:g}) must be 0 to 60 seconds.")
    return Cameras(None if count is None else int(count), fps, jitter_s or 0.0)
