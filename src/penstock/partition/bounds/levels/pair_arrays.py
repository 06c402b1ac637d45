"""The arrays of one small program: the cheapest block between two boundaries whose work is known to be in a window.

Let p1[v] be 1 if operator v comes before the first boundary, p2[v] if it comes before the second, p1 <= p2, both closed
under predecessors. The block between them costs its work, sum of work (p2 - p1), and every tensor that it moves (see
:mod:`penstock.partition.bounds.programs.segments`). Most operators are on a known side of both boundaries, so only
the others have columns. Tensors whose ends are all known have none either: their time is part of the constant.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.partition.bounds.levels.ancestry import Ancestry
from penstock.partition.problem import PartitionProblem

OPEN = 2
"""The side of an operator that may be before or after a boundary. 1 is before it, 0 after it."""


class PairArrays(NamedTuple):
    """Room for one program by rows. ``column_1`` and ``column_2`` (n,): the columns of p1 and p2, -1 if known."""

    start: I64
    column: I64
    value: F64
    row_low: F64
    row_high: F64
    cost: F64
    lower: F64
    upper: F64
    column_1: I64
    column_2: I64

    @classmethod
    def room(cls, problem: PartitionProblem, tree: Ancestry) -> PairArrays:
        """Enough for any pair of windows of ``problem``."""
        n, uses = problem.n_operators, len(problem.uses) + problem.n_tensors
        rows = n + 2 * len(tree.makers) + 2 + 2 * uses
        entries = 2 * n + 4 * len(tree.makers) + 2 * n + 4 + 10 * uses
        columns = 2 * n + problem.n_tensors + 4
        return cls(
            np.zeros(rows + 1, np.int64), np.zeros(entries, np.int64), np.zeros(entries), np.zeros(rows),
            np.zeros(rows), np.zeros(columns), np.zeros(columns), np.zeros(columns), np.zeros(n, np.int64),
            np.zeros(n, np.int64),
        )  # fmt: skip


@compiled
def build_pair(  # type: ignore[no-untyped-def]
    side_1, side_2, work, measure, makers, users, use_first, uses, maker, time, is_output, window_1, window_2,
    penalty, room,
):  # fmt: skip
    """Fill ``room``: (columns, rows, constant, columns of operators). Columns is -1 if no boundary fits its window.

    ``penalty`` > 0 adds columns by which a boundary may miss its window at that cost. So the program has a solution.
    """
    size = np.zeros(3, np.int64)  # columns, rows and entries so far
    constant = _operators(side_1, side_2, work, room, size)
    operators = size[0]
    _order(makers, users, room.column_1, room, size)
    _order(makers, users, room.column_2, room, size)
    if not _window(side_1, measure, room.column_1, window_1, penalty, room, size):
        return -1, 0, 0.0, 0
    if not _window(side_2, measure, room.column_2, window_2, penalty, room, size):
        return -1, 0, 0.0, 0
    for tensor in range(len(time)):
        if time[tensor] > 0.0:
            first, end = use_first[tensor], use_first[tensor + 1]
            leaves = is_output[tensor] and maker[tensor] >= 0
            constant += _tensor(
                side_1, side_2, maker[tensor], uses[first:end], leaves, time[tensor], room, size
            )  # fmt: skip
    return size[0], size[1], constant, operators


@compiled
def _new_column(room, size, cost, upper):  # type: ignore[no-untyped-def]
    """The number of one more column, from 0 to ``upper``."""
    at = size[0]
    room.cost[at], room.lower[at], room.upper[at] = cost, 0.0, upper
    size[0] += 1
    return at


@compiled
def _entry(room, size, column, value):  # type: ignore[no-untyped-def]
    """Add to the row that is being written, unless ``column`` is -1."""
    if column >= 0:
        room.column[size[2]], room.value[size[2]] = column, value
        size[2] += 1


@compiled
def _end_row(room, size, low, high):  # type: ignore[no-untyped-def]
    room.row_low[size[1]], room.row_high[size[1]] = low, high
    size[1] += 1
    room.start[size[1]] = size[2]


@compiled
def _operators(side_1, side_2, work, room, size):  # type: ignore[no-untyped-def]
    """Columns of open operators and rows p1 <= p2. Returns the work of those that are known to be in the block."""
    constant = 0.0
    room.start[0] = 0
    for v in range(len(side_1)):
        room.column_1[v], room.column_2[v] = -1, -1
        if side_1[v] == OPEN:
            room.column_1[v] = _new_column(room, size, -work[v], 1.0)
        elif side_1[v] == 1:
            constant -= work[v]
        if side_2[v] == OPEN:
            room.column_2[v] = _new_column(room, size, work[v], 1.0)
        elif side_2[v] == 1:
            constant += work[v]
        if room.column_1[v] >= 0 and room.column_2[v] >= 0:
            _entry(room, size, room.column_2[v], 1.0)
            _entry(room, size, room.column_1[v], -1.0)
            _end_row(room, size, 0.0, np.inf)
    return constant


@compiled
def _order(makers, users, own, room, size):  # type: ignore[no-untyped-def]
    """A user before the boundary needs its maker before it."""
    for edge in range(len(makers)):
        if own[makers[edge]] >= 0 and own[users[edge]] >= 0:
            _entry(room, size, own[makers[edge]], 1.0)
            _entry(room, size, own[users[edge]], -1.0)
            _end_row(room, size, 0.0, np.inf)


@compiled
def _window(side, measure, own, window, penalty, room, size):  # type: ignore[no-untyped-def]
    """The measure before the boundary is in ``window``. False if it cannot be."""
    known, unknown = 0.0, 0.0
    for v in range(len(side)):
        if side[v] == OPEN:
            unknown += measure[v]
        elif side[v] == 1:
            known += measure[v]
    if known > window[1] or known + unknown < window[0]:
        return False
    if unknown > 0.0:
        for v in range(len(side)):
            if measure[v] > 0.0:
                _entry(room, size, own[v], measure[v])
        if penalty > 0.0:
            for sign in (1.0, -1.0):
                slack = _new_column(room, size, penalty, known + unknown + window[1])
                _entry(room, size, slack, sign)
        _end_row(room, size, window[0] - known, window[1] - known)
    return True


@compiled
def _tensor(side_1, side_2, made, users, leaves, time, room, size):  # type: ignore[no-untyped-def]
    """The column of a tensor and its rows z >= +-(change of d) for each use. Returns its time if it surely moves.

    d = p[maker] - p[user] is 1 while the tensor is on its way. The outside of the model is operator -1: what it makes
    is before every boundary, what it uses after.
    """
    is_open = False
    for at in range(len(users) + leaves):
        user = users[at] if at < len(users) else -1
        if _has_column(room, made) or _has_column(room, user):
            is_open = True
        elif _known_change(side_1, side_2, made, user) != 0.0:
            return time
    if not is_open:
        return 0.0
    own = -1
    for at in range(len(users) + leaves):
        user = users[at] if at < len(users) else -1
        if not (_has_column(room, made) or _has_column(room, user)):
            continue
        known = _known_change(side_1, side_2, made, user)
        m1, m2 = _column(room.column_1, made), _column(room.column_2, made)
        u1, u2 = _column(room.column_1, user), _column(room.column_2, user)
        most, least = known + (m2 >= 0) + (u1 >= 0), known - (u2 >= 0) - (m1 >= 0)
        for sign in (1.0, -1.0):
            if (sign > 0.0 and most > 0.0) or (sign < 0.0 and least < 0.0):
                if own < 0:
                    own = _new_column(room, size, time, 1.0)
                _entry(room, size, own, 1.0)
                _entry(room, size, m2, -sign)
                _entry(room, size, u2, sign)
                _entry(room, size, m1, sign)
                _entry(room, size, u1, -sign)
                _end_row(room, size, sign * known, np.inf)
    return 0.0


@compiled
def _column(columns, operator):  # type: ignore[no-untyped-def]
    """The column of ``operator``; -1 for the outside of the model, which has none."""
    return columns[operator] if operator >= 0 else -1


@compiled
def _has_column(room, operator):  # type: ignore[no-untyped-def]
    return operator >= 0 and (room.column_1[operator] >= 0 or room.column_2[operator] >= 0)


@compiled
def _known_change(side_1, side_2, made, user):  # type: ignore[no-untyped-def]
    """By how much d changes in the block: the part of it that is known."""
    after = _known(side_2, made, 1.0) - _known(side_2, user, 0.0)
    return after - _known(side_1, made, 1.0) + _known(side_1, user, 0.0)


@compiled
def _known(side, operator, outside):  # type: ignore[no-untyped-def]
    """p of an operator if it is known, otherwise 0. ``outside``: its value outside the model."""
    if operator < 0:
        return outside
    return 1.0 if side[operator] == 1 else 0.0


@compiled
def proven_minimum(room, columns, rows, dual):  # type: ignore[no-untyped-def]
    """A lower bound on the program in ``room`` from any row multipliers ``dual`` (rows,): its Lagrangian bound.

    Every column has finite limits, so each takes the limit that its reduced cost prefers. It holds whatever the solver
    said, except for the rounding of the sums, for which a part of 1e-10 is taken off.
    """
    reduced = room.cost[:columns].copy()
    total, size = 0.0, 1.0
    for row in range(rows):
        limit = room.row_low[row] if dual[row] > 0.0 else room.row_high[row]
        if dual[row] == 0.0 or not np.isfinite(limit) or not np.isfinite(dual[row]):
            continue
        total += dual[row] * limit
        size += abs(dual[row] * limit)
        for at in range(room.start[row], room.start[row + 1]):
            reduced[room.column[at]] -= dual[row] * room.value[at]
    for at in range(columns):
        part = reduced[at] * (room.lower[at] if reduced[at] > 0.0 else room.upper[at])
        total += part
        size += abs(part)
    return total - 1e-10 * size
