"""Pre-partitioning: group operators into about ten blocks of similar duration, with the fewest bytes at boundaries.

The planner lists pipelines over blocks, not operators. So there must be few blocks, and they must be cheap to
separate. If blocks are contiguous, the choice is a shortest path: ``least[b, j]`` is the least number of bytes over
the interior boundaries if the first ``j`` operators form ``b`` blocks. Latencies are not negative. So
the starts that keep a block ending at ``j`` within its limits form an interval, and one sweep finds all intervals.

Invariant: the answer is an exact optimum of the first feasible level. Nothing is rounded or pruned.

The problem, its levels and the number of blocks are from Kong, Xu, Hu, "PPipe: Efficient Video Analytics
Serving on Heterogeneous GPU Clusters via Pool-Based Pipeline Parallelism", USENIX ATC 2025. That paper uses
a mixed-integer solver. The dynamic program and the choice of the most even optimum are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError, InfeasibleError
from penstock.kernels import compiled
from penstock.result import Result, Status

PUBLISHED_LEVELS: tuple[tuple[float, float], ...] = (
    (0.7, 1.3),
    (0.5, 1.5),
    (0.5, 2.0),
    (0.5, 2.5),
    (0.5, 3.0),
    (0.5, 3.5),
    (0.5, 4.0),
    (0.4, 4.0),
)
"""Limits on a block's duration as multiples of an equal share, from strict to loose."""

_TOLERANCE = 1e-9
# Shares are sums of thousands of doubles. A block exactly at a limit must not fail because of rounding.

_UNREACHED = np.int64(2**62)


def prepartition(
    latency_us: Mapping[str, F64],
    boundary_bytes: I64,
    blocks: int = 10,
    levels: Sequence[tuple[float, float]] = PUBLISHED_LEVELS,
) -> Result[tuple[int, ...]]:
    """Boundaries ``(0, ..., n_operators)`` of ``blocks`` contiguous blocks, with the fewest bytes between them.

    ``latency_us``: by device class, float64, shape (n_operators,), not negative. ``boundary_bytes``: int64,
    shape (n_operators + 1,). Entry ``i`` is the number of bytes that cross just before operator ``i``. The first and
    the last entry are the model's input and output. Every choice has them, so they do not count.

    On every device class each block takes between ``lower / blocks`` and ``upper / blocks`` of the model's
    time. ``levels`` are tried in order. The first feasible (lower, upper) is used and named in ``stats``.
    Of several optima, the one whose longest block is shortest is returned.

    Raises :class:`BadInputError` for arrays that do not fit together, and :class:`InfeasibleError` if no
    level can be met. Its message says why, and for how many blocks it is possible.
    """
    shares = _prefix_shares(latency_us)
    n_operators = shares.shape[1] - 1
    boundary = _checked_bytes(boundary_bytes, n_operators)
    if blocks < 1:
        raise BadInputError(f"blocks (={blocks}) must be >= 1. Ask for one block or more.")
    if not levels or any(not 0 <= lower <= 1 <= upper for lower, upper in levels):
        raise BadInputError(f"levels (={list(levels)}) must be pairs 0 <= lower <= 1 <= upper. Correct them.")
    if blocks > n_operators:
        raise InfeasibleError(
            f"{n_operators} operators cannot make {blocks} blocks: a block holds at least one operator. "
            f"Ask for {n_operators} blocks or fewer."
        )
    for tried, (lower, upper) in enumerate(levels, start=1):
        cost, ends = _solve(shares, boundary, blocks, lower, upper)
        if cost < _UNREACHED:
            stats: dict[str, float | int | str] = {"level": f"{lower:g}-{upper:g}", "levels_tried": tried}
            stats |= {"lower": lower, "upper": upper, "longest_share": _longest_share(shares, ends) * blocks}
            solution = tuple(int(end) for end in ends)
            return Result(solution, Status.OPTIMAL, float(cost), float(cost), 0.0, stats)
    raise InfeasibleError(_why_infeasible(latency_us, shares, boundary, blocks, levels))


def _prefix_shares(latency_us: Mapping[str, F64]) -> F64:
    """Cumulative share of the model's time, shape (device classes, n_operators + 1), from 0 to 1."""
    if not latency_us:
        raise BadInputError("latency_us is empty: give operator latencies of at least one device class.")
    rows = {name: np.asarray(values, dtype=np.float64) for name, values in latency_us.items()}
    shapes = {name: row.shape for name, row in rows.items()}
    if any(row.ndim != 1 for row in rows.values()) or len(set(shapes.values())) != 1:
        raise BadInputError(f"latency_us has shapes {shapes}: every class needs one latency per operator.")
    for name, row in rows.items():
        if not np.all(np.isfinite(row)) or np.any(row < 0) or row.sum() <= 0:
            raise BadInputError(
                f"latency_us[{name!r}] must be finite, not negative, and above 0 in sum "
                f"(least {row.min(initial=np.inf)}, sum {row.sum()}). Profile the operators again."
            )
    cumulative = np.zeros((len(rows), len(next(iter(rows.values()))) + 1))
    cumulative[:, 1:] = np.cumsum(np.stack(list(rows.values())), axis=1)
    return cumulative / cumulative[:, -1:]


def _checked_bytes(boundary_bytes: I64, n_operators: int) -> I64:
    """``boundary_bytes`` as a contiguous int64 array of length n_operators + 1 without negative entries."""
    boundary = np.ascontiguousarray(boundary_bytes, dtype=np.int64)
    if boundary.shape != (n_operators + 1,):
        raise BadInputError(
            f"boundary_bytes has shape {boundary.shape}, but {n_operators} operators have "
            f"{n_operators + 1} boundaries (input and output included). Give one entry for each."
        )
    if np.any(boundary < 0):
        raise BadInputError(f"boundary_bytes (least {boundary.min()}) must be >= 0. Correct the sizes.")
    return boundary


def _solve(shares: F64, boundary: I64, blocks: int, lower: float, upper: float) -> tuple[int, I64]:
    """Least interior bytes and the boundaries under one level. ``_UNREACHED`` if it is infeasible."""
    first, last = _windows(shares, lower / blocks - _TOLERANCE, upper / blocks + _TOLERANCE)
    cost, ends = _least_bytes(shares, boundary, first, last, blocks)
    return int(cost), ends


def _longest_share(shares: F64, ends: I64) -> float:
    return float(np.diff(shares[:, ends], axis=1).max())


def _why_infeasible(
    latency_us: Mapping[str, F64],
    shares: F64,
    boundary: I64,
    blocks: int,
    levels: Sequence[tuple[float, float]],
) -> str:
    """The reason at the loosest level, and the largest smaller number of blocks that is possible."""
    upper = max(upper for _, upper in levels)
    single = np.diff(shares, axis=1)
    row, operator = np.unravel_index(np.argmax(single), single.shape)
    heaviest = float(single[row, operator])
    if heaviest > upper / blocks + _TOLERANCE:
        reason = (
            f"operator {operator} alone takes {heaviest:.1%} of the model's time on {list(latency_us)[row]}, "
            f"and a block may take {upper / blocks:.1%} at most"
        )
    else:
        reason = "the device classes' limits leave no room between operators"
    fewer = next(
        count
        # One block is the whole model. It is within every level, so the search always ends.
        for count in range(blocks - 1, 0, -1)
        if any(_solve(shares, boundary, count, *level)[0] < _UNREACHED for level in levels)
    )
    return (
        f"no {blocks} blocks fit any of {len(levels)} levels: {reason}. "
        f"Ask for blocks={fewer}, which is feasible, or give a looser level."
    )


@compiled
def _windows(shares, least, most):  # type: ignore[no-untyped-def]
    """First and last start of a block that ends at each boundary, over all classes. Empty if first > last.

    As the end moves right, both limits also move right. So two pointers find them in one sweep.
    """
    n_classes, n_boundaries = shares.shape
    first = np.zeros(n_boundaries, np.int64)
    last = np.full(n_boundaries, -1, np.int64)
    low, high = 0, -1
    for end in range(1, n_boundaries):
        for row in range(n_classes):
            while low < end and shares[row, end] - shares[row, low] > most:
                low += 1
        while high + 1 < end and _all_at_least(shares, high + 1, end, least):
            high += 1
        first[end] = low
        last[end] = high
    return first, last


@compiled
def _all_at_least(shares, start, end, least):  # type: ignore[no-untyped-def]
    return np.all(shares[:, end] - shares[:, start] >= least)


@compiled
def _least_bytes(shares, boundary, first, last, blocks):  # type: ignore[no-untyped-def]
    """Shortest path over (blocks used, end), ordered by bytes, then by the longest block's share.

    Adding a boundary and taking a maximum keep this order. So the best prefix stays the best.
    """
    n_boundaries = shares.shape[1]
    least = np.full((blocks + 1, n_boundaries), 2**62, np.int64)
    longest = np.full((blocks + 1, n_boundaries), np.inf)
    before = np.zeros((blocks + 1, n_boundaries), np.int64)
    least[0, 0] = 0
    longest[0, 0] = 0.0
    for used in range(1, blocks + 1):
        for end in range(used, n_boundaries):
            added = boundary[end] if end < n_boundaries - 1 else 0
            for start in range(first[end], last[end] + 1):
                if least[used - 1, start] == 2**62:
                    continue
                cost = least[used - 1, start] + added
                if cost > least[used, end]:
                    continue
                share = longest[used - 1, start]
                for row in range(shares.shape[0]):
                    share = max(share, shares[row, end] - shares[row, start])
                if cost < least[used, end] or share < longest[used, end]:
                    least[used, end], longest[used, end], before[used, end] = cost, share, start
    ends = np.zeros(blocks + 1, np.int64)
    ends[blocks] = n_boundaries - 1
    for used in range(blocks, 0, -1):
        ends[used - 1] = before[used, ends[used]]
    return least[blocks, n_boundaries - 1], ends
