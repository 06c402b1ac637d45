"""The default network as arrays: what the sampler needs, nothing of any framework.

One GRU (Cho et al., EMNLP 2014; the gates as PyTorch orders them: reset, update, new) reads an event as its type, the
log of the gap before it, sines of that, and how long ago each type last came; the first input is the stream's class
instead. From the state h after an event of type d come the type of the next, softmax(W_type h + b[d]), and given
that type e the bin of the gap before it, softmax(W_gap relu(W_mid h + M[s]) + c[s]), where s is the slot of (d, e):
see :class:`penstock.traffic.generator.bins.GapBins`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError

F32 = NDArray[np.float32]

OCTAVES = 5
OF_GAP = 2 + 2 * OCTAVES
"""Features of a gap: the scaled log, whether it is 0, and a sine and cosine of each octave. A multiple of 4."""

ANGLE = np.pi / 12
"""Of log(gap + 1) in the lowest octave: one turn over 24, as 18 hours of microseconds have the log 24.9."""


class GruWeights(NamedTuple):
    """float32, C-contiguous; H = hidden units, E = types, C = classes, F = features, S = slots and B = columns of
    :class:`penstock.traffic.generator.bins.GapBins`.

    ``token`` (C + E, 3H): what the class of a stream, or the type of an event, adds to the gates' inputs (with
    the bias). ``feature`` (3H, F): the same for the gap. ``recur`` (3H, H) and ``recur_bias`` (3H,).
    ``type_head`` (E, H), ``type_bias`` (E + 1, E): row 0 for the first event, row 1 + d after type d.
    ``middle`` (H, H), ``middle_bias`` (S, H). ``gap_head`` (B, H), ``gap_bias`` (S, B), -1e9 or so in columns
    that are padding. ``scale`` (2,): mean and deviation of log(gap + 1).
    """

    token: F32
    feature: F32
    recur: F32
    recur_bias: F32
    type_head: F32
    type_bias: F32
    middle: F32
    middle_bias: F32
    gap_head: F32
    gap_bias: F32
    scale: F32

    @property
    def hidden(self) -> int:
        """Units of the GRU."""
        return int(self.recur.shape[1])


def check_weights(
    arrays: Mapping[str, NDArray[np.generic]], types: int, classes: int, slots: int, columns: int
) -> GruWeights:
    """``arrays`` as weights. Raises :class:`BadInputError` for one that is missing, of another shape, or not finite.

    The sampler reads them by address, so nothing else may pass.
    """
    missing = [name for name in GruWeights._fields if name not in arrays]
    if missing:
        raise BadInputError(f"weights: {', '.join(missing)} are missing.")
    hidden = arrays["recur"].shape[-1]
    if hidden % 8 or not hidden:
        raise BadInputError(f"weights: {hidden} hidden units; a multiple of 8 is needed.")
    shapes = {
        "token": (classes + types, 3 * hidden),
        "feature": (3 * hidden, features_of(types)),
        "recur": (3 * hidden, hidden),
        "recur_bias": (3 * hidden,),
        "type_head": (types, hidden),
        "type_bias": (types + 1, types),
        "middle": (hidden, hidden),
        "middle_bias": (slots, hidden),
        "gap_head": (columns, hidden),
        "gap_bias": (slots, columns),
        "scale": (2,),
    }
    for name, shape in shapes.items():
        array = arrays[name]
        if array.shape != shape or array.dtype != np.float32:
            raise BadInputError(
                f"weights: {name} is {array.dtype} {array.shape}, but float32 {shape} is needed."
            )
        if not np.isfinite(array).all():
            raise BadInputError(f"weights: {name} holds values that are not finite.")
    if not arrays["scale"][1] > 0:
        raise BadInputError(f"weights: the deviation of log gaps (={arrays['scale'][1]:g}) must be > 0.")
    return GruWeights(*(np.ascontiguousarray(arrays[name], np.float32) for name in GruWeights._fields))


def features_of(types: int) -> int:
    """Features of an event: those of its gap, then one for each type, filled up to a multiple of 4 for the kernel."""
    return OF_GAP + -(-types // 4) * 4


def event_features(gap_us: NDArray[np.int64], since_us: NDArray[np.int64], scale: F32) -> F32:
    """The features of N events: float32 (N, F).

    ``gap_us`` (N,); ``since_us`` (N, types): since each type last came, or the window began: 0 for the event's own.
    The recurrent state would have to add gaps up on the scale of their logs to know the latter.
    """
    made = np.zeros((len(gap_us), features_of(since_us.shape[1])), np.float32)
    made[:, :OF_GAP] = gap_features(gap_us, scale)
    logs = np.log1p(since_us.astype(np.float64))
    made[:, OF_GAP : OF_GAP + since_us.shape[1]] = (logs - float(scale[0])) / float(scale[1])
    return made


def gap_features(gap_us: NDArray[np.int64], scale: F32) -> F32:
    """The features of each gap: float32 (N, OF_GAP), in the order scaled log, is zero, sine, cosine, sine of
    twice ...
    """
    logs = np.log1p(gap_us.astype(np.float64))
    angles = logs[:, None] * ANGLE * 2.0 ** np.arange(OCTAVES)
    waves = np.stack([np.sin(angles), np.cos(angles)], axis=2).reshape(len(gap_us), 2 * OCTAVES)
    scaled = (logs - float(scale[0])) / float(scale[1])
    return np.concatenate([scaled[:, None], (gap_us == 0)[:, None], waves], axis=1).astype(np.float32)
