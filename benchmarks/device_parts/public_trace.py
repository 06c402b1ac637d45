"""The public workload, draw for draw: mt19937 from a seed, a float uniform for the model, a lognormal gap.

Written from the C++ standard's text and libstdc++'s documented algorithms: ``uniform_real_distribution<float>``
takes one 32-bit draw, ``lognormal_distribution<double>`` exponentiates a normal by Marsaglia's polar method,
whose uniforms take two draws each, low word first, and whose second value is kept for the next call.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from penstock.simulate.device.mixes import JobArrivals

SHARES = (0.257, 0.0706, 0.0546, 0.0138, 0.272, 0.168, 0.0745, 0.0894999999999999)
"""In the order of the published rows: mobilenet, densenet, googlenet, inception, resnet 18, 34, 50, squeezenet."""


def public_trace(mean_gap_us: float, *, sigma: float = 2.0, jobs: int = 3000, seed: int = 1) -> JobArrivals:
    """The arrivals of the published runs; the first job arrives at 0."""
    draws = _draws(seed)
    cumulative = np.cumsum(np.array(SHARES, np.float32), dtype=np.float32)
    mu = math.log(mean_gap_us) - sigma * sigma / 2
    normals = _normals(draws)
    moments, models = [], []
    now_us = 0.0
    for _ in range(jobs):
        uniform = np.float32(next(draws)) / np.float32(2**32)
        models.append(int(np.searchsorted(cumulative, uniform, "left")))
        moments.append(now_us)
        now_us += math.exp(next(normals) * sigma + mu)
    return JobArrivals(np.array(moments), np.array(models, np.int64))


def _draws(seed: int) -> Iterator[int]:
    # The legacy seeding of numpy's mt19937 by one integer is the one of the C++ standard.
    generator = np.random.RandomState(seed)._bit_generator
    while True:
        yield from generator.random_raw(4096).tolist()


def _normals(draws: Iterator[int]) -> Iterator[float]:
    while True:
        x, y = 2 * _double(draws) - 1, 2 * _double(draws) - 1
        square = x * x + y * y
        if 0 < square <= 1:
            scale = math.sqrt(-2 * math.log(square) / square)
            yield y * scale
            yield x * scale


def _double(draws: Iterator[int]) -> float:
    low, high = next(draws), next(draws)
    return min((low + high * 2.0**32) / 2.0**64, math.nextafter(1, 0))
