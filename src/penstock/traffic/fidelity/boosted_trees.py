"""A small classifier: gradient boosting of oblivious trees on binned features.

Every level of a tree asks one question of all its leaves, the one whose answers lower the logistic loss most to
second order (Friedman 2001; Prokhorenkova et al., "CatBoost", NeurIPS 2018, section 4 for oblivious trees). Plain
numpy and numba: telling two samples of streams apart needs a strong classifier, not a large one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled

BINS = 32
DEPTH = 4
RIDGE = 5.0
"""Added to the curvature of each leaf: leaves of few rows stay near 0."""

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class BoostedTrees:
    """``edges`` (features, BINS - 1); ``question`` (trees, DEPTH, 2): feature and last bin of the left side;
    ``value``."""

    edges: F64
    question: I64
    value: F64

    def predict(self, features: F64) -> F64:
        """The log odds of class 1 of each row (rows,)."""
        rows = _binned(features, self.edges)
        score = np.zeros(len(rows))
        for question, value in zip(self.question, self.value, strict=True):
            leaf = np.zeros(len(rows), np.int64)
            for feature, last in question:
                leaf = 2 * leaf + (rows[:, feature] > last)
            score += value[leaf]
        return score


def fit_boosted_trees(features: F64, label: F64, *, trees: int = 120, rate: float = 0.15) -> BoostedTrees:
    """Fit to ``features`` (rows, columns; NaN is a value of its own) and ``label`` (rows,), 0 or 1."""
    finite = np.where(np.isnan(features), -np.inf, features)
    edges = np.quantile(finite, np.arange(1, BINS) / BINS, axis=0, method="lower").T
    question = np.zeros((trees, DEPTH, 2), np.int64)
    value = np.zeros((trees, 2**DEPTH))
    _fit(_binned(features, edges), label, rate, question, value)
    return BoostedTrees(edges, question, value)


def area_under_curve(score: F64, label: F64) -> float:
    """The chance that a row of class 1 scores above one of class 0, ties counting half (Mann and Whitney)."""
    _, inverse, counts = np.unique(score, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    ones = int(label.sum())
    zeros = len(label) - ones
    return float((ranks[label == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros))


def _binned(features: F64, edges: F64) -> U8:
    rows = np.empty(features.shape, np.uint8)
    for column in range(features.shape[1]):
        values = np.where(np.isnan(features[:, column]), -np.inf, features[:, column])
        rows[:, column] = np.searchsorted(edges[column], values, side="left")
    return rows


@compiled
def _fit(rows: U8, label: F64, rate: float, question: I64, value: F64) -> None:
    n, columns = rows.shape
    score = np.zeros(n)
    slope, curve = np.empty(n), np.empty(n)
    leaf = np.empty(n, np.int64)
    trees, depth = question.shape[0], question.shape[1]
    for tree in range(trees):
        for i in range(n):
            chance = 1.0 / (1.0 + math.exp(-score[i]))
            slope[i], curve[i] = label[i] - chance, chance * (1.0 - chance)
        leaf[:] = 0
        for level in range(depth):
            leaves = 2**level
            sums = np.zeros((columns, leaves, BINS, 2))
            for i in range(n):
                for c in range(columns):
                    sums[c, leaf[i], rows[i, c], 0] += slope[i]
                    sums[c, leaf[i], rows[i, c], 1] += curve[i]
            best = -1.0
            for c in range(columns):
                gains = np.zeros(BINS)
                for f in range(leaves):
                    all_slope, all_curve = sums[c, f, :, 0].sum(), sums[c, f, :, 1].sum()
                    left_slope, left_curve = 0.0, 0.0
                    for b in range(BINS):
                        left_slope += sums[c, f, b, 0]
                        left_curve += sums[c, f, b, 1]
                        rest_slope, rest_curve = all_slope - left_slope, all_curve - left_curve
                        gains[b] += left_slope**2 / (left_curve + RIDGE) + rest_slope**2 / (
                            rest_curve + RIDGE
                        )
                for b in range(BINS):
                    if gains[b] > best:
                        best = gains[b]
                        question[tree, level, 0], question[tree, level, 1] = c, b
            for i in range(n):
                right = 1 if rows[i, question[tree, level, 0]] > question[tree, level, 1] else 0
                leaf[i] = 2 * leaf[i] + right
        total = np.zeros((2**depth, 2))
        for i in range(n):
            total[leaf[i], 0] += slope[i]
            total[leaf[i], 1] += curve[i]
        for f in range(2**depth):
            value[tree, f] = rate * total[f, 0] / (total[f, 1] + RIDGE)
        for i in range(n):
            score[i] += value[tree, leaf[i]]
