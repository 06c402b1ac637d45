"""Small random networks of the default method, and a plain sampler of them to compare the kernel with."""

from __future__ import annotations

import math

import numpy as np

from penstock.traffic.generator.bins import GapBins, plain_slots
from penstock.traffic.generator.grammar import Grammar
from penstock.traffic.generator.gru import GruModel
from penstock.traffic.generator.gru_weights import GruWeights, event_features, features_of
from penstock.traffic.generator.keyed_draws import BIN, INSIDE, TYPE, stream_keys, uniforms

EVENTS = ("a", "b", "c")
CLASSES = ("x", "y")
WINDOW_US = 1_000_000
SLOT_OF = plain_slots(3)
SLOT_OF[1, 1] = 6
"""b after a has bins of its own."""
EDGES = np.array(
    [
        [0, 1, 2, 50, 1_000, 20_000, 300_000, WINDOW_US],
        [0, 10, 10, 90, 4_000, 50_000, 50_000, WINDOW_US],
        [0, 7, 70, 700, 7_000, 70_000, 700_000, WINDOW_US],
        [0, 300_000, 300_000, 300_000, 400_000, 500_000, 600_000, WINDOW_US],
        [0, 1, 1, 1, 1, 1, 100_000, WINDOW_US],
        [0, 20_000, 30_000, 40_000, 50_000, 60_000, 70_000, WINDOW_US],
        [0, 90_000, 90_000, 90_500, 91_000, 91_000, 91_000, WINDOW_US],
    ],
    np.int64,
)


def random_model(seed: int = 0, hidden: int = 16, spread: float = 0.6) -> GruModel:
    """Types follow each other in a ring, or themselves."""
    rng = np.random.default_rng(seed)

    def some(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) * spread).astype(np.float32)

    bins = GapBins(EDGES, SLOT_OF)
    kinds, slots, columns = len(EVENTS), bins.slots, bins.columns
    gap_bias = np.where(bins.usable, some(slots, columns), -1e9).astype(np.float32)
    gap_bias[:, -1] -= 2.0
    weights = GruWeights(
        some(len(CLASSES) + kinds, 3 * hidden),
        some(3 * hidden, features_of(kinds)),
        some(3 * hidden, hidden),
        some(3 * hidden),
        some(kinds, hidden),
        some(kinds + 1, kinds),
        some(hidden, hidden),
        some(slots, hidden),
        some(columns, hidden),
        gap_bias,
        np.array([8.0, 4.0], np.float32),
    )
    ring = np.array([[0, 1, -1], [-1, 1, 2], [0, -1, 2]], np.int32)
    start = np.array([[1, 2, 3]], np.int32)
    return GruModel(
        weights, bins, Grammar(np.concatenate([start, np.where(ring >= 0, ring + 1, -1)]).astype(np.int32))
    )


def step(weights: GruWeights, state: np.ndarray, read: int, features: np.ndarray) -> np.ndarray:
    """The GRU in float64: (H,) to (H,)."""
    hidden = len(state)
    own = weights.token[read].astype(float) + weights.feature.astype(float) @ features
    past = weights.recur.astype(float) @ state + weights.recur_bias
    reset = 1 / (1 + np.exp(-(own[:hidden] + past[:hidden])))
    update = 1 / (1 + np.exp(-(own[hidden : 2 * hidden] + past[hidden : 2 * hidden])))
    new = np.tanh(own[2 * hidden :] + reset * past[2 * hidden :])
    return (1 - update) * new + update * state


def type_shares(weights: GruWeights, state: np.ndarray, before: int) -> np.ndarray:
    """Softmax over types; ``before``: 0, or 1 + the type before."""
    return _softmax(weights.type_head.astype(float) @ state + weights.type_bias[before])


def gap_shares(weights: GruWeights, state: np.ndarray, slot: int) -> np.ndarray:
    """Softmax over columns given the slot."""
    middle = np.maximum(weights.middle.astype(float) @ state + weights.middle_bias[slot], 0)
    return _softmax(weights.gap_head.astype(float) @ middle + weights.gap_bias[slot])


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max())
    return powers / powers.sum()


def plain_stream(
    model: GruModel, seed: int, number: int, klass: int, most: int = 200
) -> list[tuple[int, int]]:
    """One stream, (event, time) by time, drawn by the book."""
    weights, bins = model.weights, model.bins
    key = stream_keys(seed, np.array([number]))
    state, place, clock = np.zeros(weights.hidden), 0, 0
    read, features = klass, np.zeros(features_of(len(EVENTS)))
    last = np.zeros(len(EVENTS), np.int64)
    found: list[tuple[int, int]] = []
    while len(found) < most:
        state = step(weights, state, read, features)

        def draw(purpose: int) -> float:
            return float(uniforms(key, len(found), purpose)[0])

        before = 1 + found[-1][0] if found else 0
        allowed = model.grammar.next_state[place] >= 0
        kind = _inverse(np.where(allowed, type_shares(weights, state, before), 0.0), draw(TYPE))
        slot = int(SLOT_OF[before, kind])
        column = _inverse(gap_shares(weights, state, slot), draw(BIN))
        if column == bins.columns - 1:
            gap = None
        else:
            low, high = bins.log_edges[slot, column], bins.log_edges[slot, column + 1]
            gap = math.floor(math.exp(low + draw(INSIDE) * (high - low))) - 1
            gap = min(max(gap, bins.edges[slot, column]), bins.edges[slot, column + 1] - 1)
        if not found:
            gap = WINDOW_US - 1 if gap is None else min(gap, WINDOW_US - 1)
        if gap is None or clock + gap >= WINDOW_US:
            break
        clock += int(gap)
        found.append((kind, clock))
        place = model.grammar.next_state[place, kind]
        read = len(CLASSES) + kind
        last[kind] = clock
        features = event_features(np.array([gap]), clock - last[None], weights.scale)[0].astype(float)
    return found


def _inverse(shares: np.ndarray, u: float) -> int:
    ends = np.cumsum(shares)
    return int(np.searchsorted(ends, u * ends[-1], side="right"))
