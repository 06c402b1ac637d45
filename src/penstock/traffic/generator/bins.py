"""Gaps as bins: quantiles, log-uniform inside a bin, and one bin for "not in the window".

A gap is a whole number of microseconds g >= 0, and its scale is log(g + 1). The finite bins of a *slot* are
[edge i, edge i + 1): one below the smallest gap seen, up to ``most`` quantile bins, one above the largest. The first
and the last quantile bin are halved while enough gaps are in the halves, for the tails. Inside a bin
g has the probability log((g + 2) / (g + 1)) / log((high + 1) / (low + 1)), so the probability of every gap is exact and
finite. The last column is the overflow: the event does not come before the window ends. A bin of quantiles holds at
least ``FEWEST_IN_BIN`` gaps, and the outermost edges are rounded outward, so that no edge is the gap of one user.

A slot is a row of the bins: a law of gaps of its own. Each of E types has two, one for the course of a stream (row e)
and one for the first event (row E + e), since the time from the begin of the window to the first event is no gap.
A type that often follows a certain type has a third slot for that pair. A release that follows a request comes after
the inactivity timer, and one that follows an update comes at once: with bins of their own, neither can take the
other's gap by the rest of probability that a softmax leaves everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.traffic.streams import Streams

BINS = 256
"""Quantile bins of the default generator, for each type."""

FEWEST_IN_BIN = 20
"""Gaps in a quantile bin: below it a bin says more of its few gaps than of their distribution."""

DIGITS = 2
"""Significant digits that the outermost edges keep."""

MOST_PAIRS = 64
"""Pairs of consecutive types with a slot of their own: the most frequent ones."""

FEWEST_OF_PAIR = 400
"""Gaps of a pair that has a slot of its own: twenty bins."""


@dataclass(frozen=True)
class GapBins:
    """``edges``: int64 (slots, finite bins + 1), rising; bins of width 0 are padding and never drawn.

    ``slot_of``: int64 (types + 1, types), the slot of a type as the first event (row 0) and after type d (row 1 + d).
    Empty where the caller chooses the slots.
    """

    edges: I64
    slot_of: I64 = field(default_factory=lambda: np.empty((0, 0), np.int64))

    def __post_init__(self) -> None:
        edges = self.edges
        if edges.ndim != 2 or edges.dtype != np.int64 or edges.shape[1] < 2:
            raise BadInputError(
                f"bins: edges are {edges.dtype} {edges.shape}, but int64 (slots, bins + 1) is needed."
            )
        if edges.min() < 0 or np.any(np.diff(edges, axis=1) < 0) or np.any(edges[:, -1] <= edges[:, 0]):
            raise BadInputError("bins: edges must be >= 0 and rise in each row.")
        table = self.slot_of
        if table.ndim != 2 or table.dtype != np.int64 or (table.size and len(table) != table.shape[1] + 1):
            raise BadInputError(
                f"bins: the table of slots is {table.dtype} {table.shape}; int64 (types + 1, types) is needed."
            )
        if table.size and not 0 <= table.min() <= table.max() < len(edges):
            raise BadInputError(
                f"bins: slots must lie in 0 to {len(edges) - 1}; found {table.min()} to {table.max()}."
            )

    @property
    def types(self) -> int:
        """Types of event."""
        return int(self.slot_of.shape[1])

    @property
    def slots(self) -> int:
        """Rows."""
        return len(self.edges)

    @property
    def columns(self) -> int:
        """Finite bins and the overflow."""
        return int(self.edges.shape[1])

    @cached_property
    def log_edges(self) -> F64:
        """log(edge + 1): float64, as ``edges``."""
        return np.log1p(self.edges.astype(np.float64))

    @cached_property
    def usable(self) -> NDArray[np.bool_]:
        """Which columns can be drawn: bool (slots, columns)."""
        return np.concatenate([np.diff(self.edges, axis=1) > 0, np.ones((self.slots, 1), bool)], axis=1)

    def column_of(self, slot: I64, gap_us: I64) -> I64:
        """The column of each gap, given its slot: int64 as ``gap_us``."""
        found = np.empty(len(gap_us), np.int64)
        for row in range(self.slots):
            chosen = slot == row
            found[chosen] = np.searchsorted(self.edges[row], gap_us[chosen], side="right") - 1
        return np.clip(found, 0, self.columns - 1)

    def log_inside(self, slot: I64, gap_us: I64) -> F64:
        """Log density of each gap inside its bin, on the scale log(gap + 1): minus the log of the bin's width."""
        column = self.column_of(slot, gap_us)
        column = np.minimum(column, self.columns - 2)
        return -np.log(self.log_edges[slot, column + 1] - self.log_edges[slot, column])


def plain_slots(types: int) -> I64:
    """The table of slots without pairs: ``slot_of`` of :class:`GapBins`."""
    kinds = np.arange(types)
    return np.concatenate([[types + kinds], np.repeat(kinds[None], types, axis=0)]).astype(np.int64)


def befores_of(streams: Streams) -> I64:
    """The row of ``slot_of`` for each event: 0 for a first event, else 1 + the type before it; int64 (N,)."""
    before = np.empty(streams.n_events, np.int64)
    before[1:] = 1 + streams.event[:-1]
    before[streams.first[:-1]] = 0
    return before


def slots_of(streams: Streams, slot_of: I64) -> I64:
    """The slot of each event: int64 (N,)."""
    return slot_of[befores_of(streams), streams.event]


def fit_stream_bins(streams: Streams, most: int) -> GapBins:
    """The bins of every slot, and which pairs of types have one."""
    types, gap_us, event = len(streams.events), streams.gap_us, streams.event
    before = befores_of(streams)
    slot_of = plain_slots(types)
    gaps = [gap_us[(event == kind) & (before > 0)] for kind in range(types)]
    gaps += [gap_us[(event == kind) & (before == 0)] for kind in range(types)]
    pair = (before - 1) * types + event
    counts = np.bincount(pair[before > 0], minlength=types * types)
    for code in np.argsort(-counts, kind="stable")[:MOST_PAIRS]:
        # A pair that is all that its type has needs no second row.
        if FEWEST_OF_PAIR <= counts[code] < len(gaps[code % types]):
            slot_of[1 + code // types, code % types] = len(gaps)
            gaps.append(gap_us[(pair == code) & (before > 0)])
    return GapBins(_as_rows([_edges(own, streams.window_us, most) for own in gaps]), slot_of)


def fit_bins(slot: I64, gap_us: I64, slots: int, window_us: int, most: int) -> GapBins:
    """Quantile bins of ``gap_us`` given ``slot``; the finite bins of every slot cover [0, ``window_us``)."""
    return GapBins(_as_rows([_edges(gap_us[slot == row], window_us, most) for row in range(slots)]))


def _as_rows(rows: list[I64]) -> I64:
    columns = max(len(row) for row in rows)
    return np.stack([np.pad(row, (0, columns - len(row)), mode="edge") for row in rows])


def _edges(gaps: I64, window_us: int, most: int) -> I64:
    count = min(most, len(gaps) // FEWEST_IN_BIN)
    if not count:
        return np.array([0, window_us], np.int64)
    tail = 0.5 / count
    tails: list[float] = []
    while tail * len(gaps) >= FEWEST_IN_BIN:
        tails += [tail, 1.0 - tail]
        tail /= 2
    inner = np.quantile(gaps, np.sort([*tails, *(np.arange(1, count) / count)])).astype(np.int64)
    # A value that takes several quantiles is an atom (a timer, say): a bin of its own keeps it sharp.
    values, times = np.unique(inner, return_counts=True)
    atoms = values[times > 1]
    top = int(gaps.max()) + 1
    if top - 1 not in atoms:
        top = _rounded(top, up=True)
    bottom = int(gaps.min()) if gaps.min() in atoms else _rounded(int(gaps.min()), up=False)
    edges = np.concatenate([[0, bottom], values, atoms + 1, [min(top, window_us), window_us]])
    return np.unique(edges).astype(np.int64)


def _rounded(value: int, *, up: bool) -> int:
    unit = 10 ** max(len(str(value)) - DIGITS, 0)
    return int(-(-value // unit) * unit if up else value // unit * unit)
