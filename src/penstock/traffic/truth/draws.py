"""Random numbers for kernels: a generator of its own for each stream, keyed by (seed, stream).

SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): the state steps by a
constant, and a mix of it is the output. A stream's numbers depend on its key alone, so neither the number of
streams nor the order in which they are simulated changes them.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from penstock.kernels import compiled

U64 = NDArray[np.uint64]

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)


@compiled
def mixed(word: np.uint64) -> np.uint64:
    """A word whose bits all depend on all bits of ``word``."""
    word = (word ^ (word >> _S30)) * _MIX_1
    word = (word ^ (word >> _S27)) * _MIX_2
    return word ^ (word >> _S31)


@compiled
def start(state: U64, seed: int, stream: int) -> None:
    """Set ``state`` (1,) to the begin of the numbers of (``seed``, ``stream``)."""
    state[0] = mixed(mixed(np.uint64(seed) + _STEP) ^ (np.uint64(stream) * _STEP))


@compiled
def uniform(state: U64) -> float:
    """In (0, 1), both ends excluded."""
    state[0] += _STEP
    return (float(mixed(state[0]) >> _S11) + 0.5) / 9007199254740992.0


@compiled
def normal(state: U64) -> float:
    """Standard normal (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(uniform(state)))
    return radius * math.cos(2.0 * math.pi * uniform(state))


@compiled
def lognormal(state: U64, median: float, sigma: float) -> float:
    """Median ``median``; its logarithm deviates by ``sigma``."""
    return median * math.exp(sigma * normal(state))


@compiled
def heavy(state: U64, median: float, sigma: float, tail_share: float, tail_index: float) -> float:
    """A lognormal, times a Pareto factor (>= 1, index ``tail_index``) with probability ``tail_share``."""
    value = lognormal(state, median, sigma)
    if uniform(state) < tail_share:
        value *= uniform(state) ** (-1.0 / tail_index)
    return value
