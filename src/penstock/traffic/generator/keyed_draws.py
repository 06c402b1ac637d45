"""Uniform draws keyed by (seed, stream, step, purpose): the same whatever the order in which they are asked for.

A counter-based generator: the finaliser of SplitMix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
Generators", OOPSLA 2014, figure 17) hashes the key, one round for each part. So a stream does not change with the size
of a batch, the number of threads, or how many streams are drawn beside it.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64
from penstock.kernels import compiled

U64 = NDArray[np.uint64]

TYPE, BIN, INSIDE = 0, 1, 2
"""What a draw decides: the type of the event, the bin of the gap, and the place inside the bin."""

PURPOSES = 4
"""Draws of one step have the counters ``step * PURPOSES + purpose``."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_TO_UNIT = 2.0**-53


@compiled(inline="always")
def mix(value: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: a bijection of 64 bits whose outputs look independent for consecutive inputs."""
    value = (value ^ (value >> np.uint64(30))) * _FIRST
    value = (value ^ (value >> np.uint64(27))) * _SECOND
    return value ^ (value >> np.uint64(31))


@compiled
def stream_key(seed: int, stream: int) -> np.uint64:
    """The key of one stream under ``seed``."""
    return mix(mix(np.uint64(seed) + _GOLDEN) + np.uint64(stream) * _GOLDEN + _GOLDEN)


@compiled(inline="always")
def uniform(key: np.uint64, step: int, purpose: int) -> float:
    """A number in [0, 1) with 53 bits."""
    counter = np.uint64(step) * np.uint64(PURPOSES) + np.uint64(purpose) + np.uint64(1)
    return float(mix(key + counter * _GOLDEN) >> np.uint64(11)) * _TO_UNIT


@compiled
def stream_keys(seed: int, streams: NDArray[np.int64]) -> U64:
    """The keys of ``streams`` (int64, one each) under ``seed``."""
    keys = np.empty(len(streams), np.uint64)
    for place in range(len(streams)):
        keys[place] = stream_key(seed, streams[place])
    return keys


@compiled
def uniforms(keys: U64, step: int, purpose: int) -> F64:
    """One number in [0, 1) for each of ``keys``, all at the same ``step``."""
    drawn = np.empty(len(keys), np.float64)
    for place in range(len(keys)):
        drawn[place] = uniform(keys[place], step, purpose)
    return drawn
