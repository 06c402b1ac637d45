"""A biased random-key genetic search over operators' priorities.

An individual has a key in [0, 1) per operator. Its order is the topological sort by these keys as priorities, and
its value is the best slicing of that order. Each generation keeps an elite and adds new random individuals. The rest
are crossings of a member of the elite with any other individual. Each key comes from the elite with a certain chance.
The scheme: J. Gonçalves, M. Resende, "Biased random-key genetic algorithms for combinatorial optimization", J.
Heuristics 17(5), 2011. Its use here: Archer et al., ICML 2024, section 4 (10 x 10 and 100 x 100 individuals and
generations).

Ours has two differences: known orders join the first generation, and some children are an elite with a few new keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.partition.budget import Stop
from penstock.partition.search.incumbent import Incumbent
from penstock.partition.search.orders import priority_order
from penstock.partition.search.slicing import best_slicing

_TOLERANCE = 1e-3
"""An individual's value must only be good enough to rank it. The best ones are sliced again exactly."""


@dataclass(frozen=True)
class GeneticSettings:
    """Individuals and generations, shares of the elite and of new individuals, the elite's chance to give a key."""

    individuals: int = 100
    generations: int = 100
    elite_share: float = 0.2
    fresh_share: float = 0.15
    elite_bias: float = 0.7


def search_keys(
    best: Incumbent,
    known_orders: Sequence[I64],
    rng: np.random.Generator,
    settings: GeneticSettings,
    stop: Stop,
) -> int:
    """Improve ``best`` until the last generation or ``stop``. Returns the number of generations that ran."""
    n = best.problem.n_operators
    keys = rng.random((settings.individuals, n))
    for row, order in zip(keys, known_orders, strict=False):
        row[order] = (np.arange(n) + 0.5) / n
    values = _values(best, keys, stop)
    for generation in range(settings.generations):
        if stop():
            return generation
        ranked = np.argsort(values, kind="stable")
        keys, values = keys[ranked], values[ranked]
        elite = max(1, round(settings.individuals * settings.elite_share))
        keys[elite:] = _children(keys, elite, rng, settings)
        values[elite:] = _values(best, keys[elite:], stop)
    return settings.generations


def _values(best: Incumbent, keys: F64, stop: Stop) -> F64:
    """The bottleneck of each row of ``keys``. Infinite for rows that ``stop`` left out."""
    values = np.full(len(keys), np.inf)
    for row, priority in enumerate(keys):
        if stop():
            break
        order = priority_order(best.graph, priority)
        sliced = best_slicing(best.graph, order, best.k, tolerance=_TOLERANCE)
        assert sliced is not None, "without a limit every order has a slicing"
        values[row] = sliced.bottleneck
        if sliced.bottleneck < best.value * (1 + _TOLERANCE):
            best.offer_order(order, "genetic search")
    return values


def _children(keys: F64, elite: int, rng: np.random.Generator, settings: GeneticSettings) -> F64:
    """All of the next generation except the elite: new individuals, changed elites, and crossings."""
    individuals, n = keys.shape
    wanted = individuals - elite
    fresh = max(1, round(individuals * settings.fresh_share)) if wanted > 1 else 0
    first = keys[rng.integers(elite, size=wanted)]
    second = keys[rng.integers(min(elite, individuals - 1), individuals, size=wanted)]
    children: F64 = np.where(rng.random((wanted, n)) < settings.elite_bias, first, second)
    # Every second child is an elite with a few new keys, because crossing alone breaks long chains.
    redrawn = np.where(rng.random((wanted, n)) < max(2.0 / n, 0.02), rng.random((wanted, n)), first)
    children[::2] = redrawn[::2]
    children[:fresh] = rng.random((fresh, n))
    return children
