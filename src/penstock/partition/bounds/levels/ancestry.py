"""How much work must come before, and after, each operator: sums over all ancestors and all descendants."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.partition.problem import PartitionProblem

_WORDS = 16
"""Ancestors are counted for so many words of 64 operators at a time, so memory grows with n and not with its square."""


class Ancestry(NamedTuple):
    """``before`` and ``after`` (n,): the measure of all ancestors, or descendants, of each operator, with itself.

    ``makers`` and ``users`` (e,): the edges, each pair once, sorted by user.
    """

    before: F64
    after: F64
    makers: I64
    users: I64


def ancestry(problem: PartitionProblem, measure: F64) -> Ancestry:
    """The sums of ``measure`` (n,) over the graph of ``problem``. It takes O(n e / 64) steps and O(n + e) memory."""
    n = problem.n_operators
    edges = np.unique(problem.edges(), axis=0).reshape(-1, 2)
    edges = edges[np.argsort(edges[:, 1], kind="stable")]
    makers, users = np.ascontiguousarray(edges[:, 0]), np.ascontiguousarray(edges[:, 1])
    back = edges[np.argsort(-edges[:, 0], kind="stable")]
    after = _sums(
        np.ascontiguousarray(measure[::-1]),
        np.ascontiguousarray(n - 1 - back[:, 1]),
        np.ascontiguousarray(n - 1 - back[:, 0]),
    )
    return Ancestry(_sums(measure, makers, users), np.ascontiguousarray(after[::-1]), makers, users)


@compiled
def _sums(measure, makers, users):  # type: ignore[no-untyped-def]
    """The sum over the ancestors of each operator. Makers come before users, and edges are sorted by user."""
    n = len(measure)
    total = np.zeros(n)
    width = _WORDS * 64
    for low in range(0, n, width):
        high = min(n, low + width)
        bits = np.zeros((n, _WORDS), np.uint64)
        for v in range(low, high):
            bits[v, (v - low) // 64] |= np.uint64(1) << np.uint64((v - low) % 64)
        for edge in range(len(makers)):
            if users[edge] > low:
                for word in range(_WORDS):
                    bits[users[edge], word] |= bits[makers[edge], word]
        for v in range(low, n):
            for word in range(_WORDS):
                left = bits[v, word]
                at = low + word * 64
                while left != 0:
                    if left & np.uint64(1):
                        total[v] += measure[at]
                    left >>= np.uint64(1)
                    at += 1
    return total
