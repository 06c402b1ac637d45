"""Sampling from :class:`GruWeights` as a compiled kernel: LANES streams in step, a new one in each lane that ends.

Vector units work across the lanes, so each stream's sums are taken in one order whatever its neighbours are: with draws
keyed by (seed, stream, step) a stream is the same in any batch and thread. Arrays of a step are (units, LANES).
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.kernels import compiled
from penstock.traffic.generator.gru_weights import ANGLE, OCTAVES, OF_GAP, GruWeights
from penstock.traffic.generator.keyed_draws import BIN, INSIDE, TYPE, uniform
from penstock.traffic.generator.lane_arithmetic import (
    F32,
    LANES,
    exp32,
    exp_of_all,
    move_state,
    multiply,
    sigmoid_of_sum,
)

OVERFLOW = -1
"""The gap of a step at which the stream ends."""


class Tables(NamedTuple):
    """The bins and the grammar: ``edges`` and ``log_edges`` (slots, columns), ``slot_of`` (types + 1, types),
    ``next_state`` (states, types).
    """

    edges: I64
    log_edges: NDArray[np.float64]
    slot_of: I64
    next_state: NDArray[np.int32]


class Scratch(NamedTuple):
    """Working arrays of one thread, float32 (units, LANES).

    ``reads``, int64 (LANES,): the row of ``token`` to read next. ``before``, int64 (LANES,): 0 before the first event
    of a stream, else 1 + the type of the last. ``last_us``, int64 (types, LANES): when each type last came.
    """

    reads: I64
    before: I64
    last_us: I64
    state: F32
    gates: F32
    inputs: F32
    features: F32
    type_scores: F32
    middle: F32
    gap_scores: F32
    total: F32
    passed: F32


@compiled
def scratch(weights: GruWeights) -> Scratch:
    """Room for one thread."""
    hidden = weights.recur.shape[1]
    kinds, columns = weights.type_bias.shape[1], weights.gap_bias.shape[1]
    return Scratch(
        np.zeros(LANES, np.int64),
        np.zeros(LANES, np.int64),
        np.zeros((kinds, LANES), np.int64),
        np.zeros((hidden, LANES), np.float32),
        np.empty((3 * hidden, LANES), np.float32),
        np.zeros((3 * hidden, LANES), np.float32),
        np.zeros((weights.feature.shape[1], LANES), np.float32),
        np.empty((kinds, LANES), np.float32),
        np.empty((hidden, LANES), np.float32),
        np.empty((columns, LANES), np.float32),
        np.empty(LANES, np.float32),
        np.empty(LANES, np.float32),
    )


@compiled(error_model="numpy", fastmath={"contract"})
def advance(weights: GruWeights, s: Scratch) -> None:
    """The GRU's step in every lane, from ``reads`` (the type or class) and ``features`` (of the gap)."""
    hidden = weights.recur.shape[1]
    for row in range(3 * hidden):
        for lane in range(LANES):
            s.gates[row, lane] = weights.recur_bias[row]
            s.inputs[row, lane] = weights.token[s.reads[lane], row]
    multiply(weights.recur, s.state, s.gates)
    multiply(weights.feature, s.features, s.inputs)
    inputs, gates = s.inputs.reshape(-1), s.gates.reshape(-1)
    cut, end = 2 * hidden * LANES, 3 * hidden * LANES
    sigmoid_of_sum(inputs[:cut], gates[:cut])
    half = hidden * LANES
    move_state(s.state.reshape(-1), inputs[:half], inputs[half:cut], inputs[cut:end], gates[cut:end])


@compiled(error_model="numpy", fastmath={"contract"})
def score_types(weights: GruWeights, s: Scratch) -> None:
    """``type_scores``: the logits of the next type in every lane."""
    for kind in range(weights.type_bias.shape[1]):
        for lane in range(LANES):
            s.type_scores[kind, lane] = weights.type_bias[s.before[lane], kind]
    multiply(weights.type_head, s.state, s.type_scores)


@compiled(error_model="numpy", fastmath={"contract"})
def score_gaps(weights: GruWeights, s: Scratch, slot: I64) -> None:
    """``gap_scores``: exp(logit - largest) of each column given ``slot[lane]``, and their sum in ``total``."""
    hidden = weights.recur.shape[1]
    columns = weights.gap_bias.shape[1]
    for u in range(hidden):
        for lane in range(LANES):
            s.middle[u, lane] = weights.middle_bias[slot[lane], u]
    for column in range(columns):
        for lane in range(LANES):
            s.gap_scores[column, lane] = weights.gap_bias[slot[lane], column]
    multiply(weights.middle, s.state, s.middle)
    for u in range(hidden):
        for lane in range(LANES):
            s.middle[u, lane] = max(s.middle[u, lane], np.float32(0.0))
    multiply(weights.gap_head, s.middle, s.gap_scores)
    for lane in range(LANES):
        s.passed[lane] = s.gap_scores[0, lane]
        s.total[lane] = np.float32(0.0)
    for column in range(1, columns):
        for lane in range(LANES):
            s.passed[lane] = max(s.passed[lane], s.gap_scores[column, lane])
    for column in range(columns):
        for lane in range(LANES):
            s.gap_scores[column, lane] -= s.passed[lane]
    exp_of_all(s.gap_scores.reshape(-1))
    for column in range(columns):
        for lane in range(LANES):
            s.total[lane] += s.gap_scores[column, lane]


@compiled
def put_class(weights: GruWeights, s: Scratch, lane: int, klass: int) -> None:
    """Begin a stream of class ``klass`` in ``lane``."""
    for u in range(weights.recur.shape[1]):
        s.state[u, lane] = np.float32(0.0)
    s.reads[lane] = klass
    s.before[lane] = 0
    for kind in range(len(s.last_us)):
        s.last_us[kind, lane] = 0
    for f in range(len(s.features)):
        s.features[f, lane] = np.float32(0.0)


@compiled
def put_event(weights: GruWeights, s: Scratch, lane: int, kind: int, gap_us: int, now_us: int) -> None:
    """Let ``lane`` read an event of type ``kind`` at ``now_us``, which came ``gap_us`` after the one before."""
    mean, deviation = float(weights.scale[0]), float(weights.scale[1])
    s.last_us[kind, lane] = now_us
    for other in range(len(s.last_us)):
        since = math.log1p(float(now_us - s.last_us[other, lane]))
        s.features[OF_GAP + other, lane] = (since - mean) / deviation
    s.reads[lane] = len(weights.token) - weights.type_bias.shape[1] + kind
    s.before[lane] = 1 + kind
    log_gap = math.log1p(float(gap_us))
    s.features[0, lane] = (log_gap - mean) / deviation
    s.features[1, lane] = 1.0 if gap_us == 0 else 0.0
    sine, cosine = math.sin(log_gap * ANGLE), math.cos(log_gap * ANGLE)
    for octave in range(OCTAVES):
        s.features[2 + 2 * octave, lane] = sine
        s.features[3 + 2 * octave, lane] = cosine
        # The sine and cosine of twice the angle.
        sine, cosine = 2.0 * sine * cosine, cosine * cosine - sine * sine


@compiled
def draw_type(weights: GruWeights, tables: Tables, s: Scratch, lane: int, state: int, u: float) -> int:
    """The type at ``u`` of the cumulative distribution over those that ``state`` lets follow, or -1 if none may."""
    kinds = weights.type_bias.shape[1]
    largest = np.float32(-np.inf)
    for kind in range(kinds):
        if tables.next_state[state, kind] >= 0:
            largest = max(largest, s.type_scores[kind, lane])
    total = 0.0
    for kind in range(kinds):
        power = 0.0
        if tables.next_state[state, kind] >= 0:
            power = float(exp32(s.type_scores[kind, lane] - largest))
        s.type_scores[kind, lane] = power
        total += power
    target, below, last = u * total, 0.0, -1
    for kind in range(kinds):
        if s.type_scores[kind, lane] > 0:
            below += float(s.type_scores[kind, lane])
            last = kind
            if below > target:
                break
    return last


@compiled
def draw_columns(s: Scratch, place: F32, column: I64) -> None:
    """The column at ``place[lane]`` (in [0, 1)) of each lane's cumulative distribution, into ``column``."""
    columns = len(s.gap_scores)
    for lane in range(LANES):
        s.passed[lane] = np.float32(0.0)
        s.total[lane] *= place[lane]
    for lane in range(LANES):
        column[lane] = 0
    counted = s.middle[0]
    for lane in range(LANES):
        counted[lane] = np.float32(0.0)
    for at in range(columns - 1):
        for lane in range(LANES):
            s.passed[lane] += s.gap_scores[at, lane]
            counted[lane] += np.float32(1.0) if s.passed[lane] <= s.total[lane] else np.float32(0.0)
    for lane in range(LANES):
        column[lane] = int(counted[lane])


@compiled
def gap_inside(tables: Tables, slot: int, column: int, u: float) -> int:
    """The gap at ``u`` of a bin, log-uniform; OVERFLOW for the last column."""
    if column >= tables.edges.shape[1] - 1:
        return OVERFLOW
    low, high = tables.edges[slot, column], tables.edges[slot, column + 1]
    if high <= low:
        return low
    at = tables.log_edges[slot, column]
    gap = int(math.exp(at + u * (tables.log_edges[slot, column + 1] - at))) - 1
    return min(max(gap, low), high - 1)


@compiled
def _longer(column: Any, room: int) -> Any:
    wider = np.empty(room, column.dtype)
    wider[: len(column)] = column
    return wider


@compiled(nogil=True)
def sample_block(
    weights: GruWeights,
    tables: Tables,
    keys: NDArray[np.uint64],
    klass: NDArray[np.int16],
    window_us: int,
    most_events: int,
) -> tuple[NDArray[np.int32], NDArray[np.int16], I64, int]:
    """Streams with ``keys`` and classes ``klass``: (stream in the block, event, time_us) by step, and how many
    were cut.

    The rows of one stream are in order, those of several are mixed. A stream is cut at ``most_events``.
    """
    s = scratch(weights)
    streams, room = len(keys), 64 * len(keys) + 64
    owner, event, time_us = np.empty(room, np.int32), np.empty(room, np.int16), np.empty(room, np.int64)
    lane_stream = np.full(LANES, -1, np.int64)
    step, clock, state = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    kind, slot, column = np.zeros(LANES, np.int64), np.zeros(LANES, np.int64), np.zeros(LANES, np.int64)
    place = np.zeros(LANES, np.float32)
    begun, running, rows, cut = 0, 0, 0, 0
    for lane in range(min(LANES, streams)):
        put_class(weights, s, lane, klass[begun])
        lane_stream[lane] = begun
        begun += 1
        running += 1
    while running:
        advance(weights, s)
        score_types(weights, s)
        for lane in range(LANES):
            stream = lane_stream[lane]
            if stream >= 0:
                u = uniform(keys[stream], step[lane], TYPE)
                kind[lane] = draw_type(weights, tables, s, lane, state[lane], u)
                place[lane] = uniform(keys[stream], step[lane], BIN)
        for lane in range(LANES):
            slot[lane] = tables.slot_of[s.before[lane], max(kind[lane], 0)]
        score_gaps(weights, s, slot)
        draw_columns(s, place, column)
        for lane in range(LANES):
            stream = lane_stream[lane]
            if stream < 0:
                continue
            gap = OVERFLOW
            if kind[lane] >= 0:
                gap = gap_inside(tables, slot[lane], column[lane], uniform(keys[stream], step[lane], INSIDE))
            if step[lane] == 0:
                # A stream has at least one event: what would come later comes last of all.
                gap = min(gap, window_us - 1) if gap != OVERFLOW else window_us - 1
            comes = gap != OVERFLOW and clock[lane] + gap < window_us
            if comes and step[lane] < most_events:
                if rows == room:
                    room *= 2
                    owner, event, time_us = _longer(owner, room), _longer(event, room), _longer(time_us, room)
                clock[lane] += gap
                owner[rows], event[rows], time_us[rows] = stream, kind[lane], clock[lane]
                rows += 1
                state[lane] = tables.next_state[state[lane], kind[lane]]
                step[lane] += 1
                put_event(weights, s, lane, kind[lane], gap, clock[lane])
            else:
                cut += 1 if comes else 0
                lane_stream[lane] = -1
                running -= 1
                step[lane], clock[lane], state[lane] = 0, 0, 0
                if begun < streams:
                    lane_stream[lane] = begun
                    put_class(weights, s, lane, klass[begun])
                    begun += 1
                    running += 1
    return owner[:rows], event[:rows], time_us[:rows], cut
