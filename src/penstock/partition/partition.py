"""Split a graph into at most k blocks within a time budget, with a proof of how near the optimum the result is.

The steps are in this order. The work ends as soon as the proof is good enough:

1. Merge operators without work into their neighbours (:mod:`.reduce`).
2. Slice a few orders (:mod:`.slicing`, :mod:`.orders`), and compute the cheap bounds too.
3. If there are few ideals, solve exactly (:mod:`.ideals`).
4. Alternate random-key search and local moves (:mod:`.random_keys`, :mod:`.local_moves`) with stronger bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError, PenstockError
from penstock.partition.bounds.anytime import lower_bounds
from penstock.partition.bounds.simple import simple_bound
from penstock.partition.budget import Deadline, Stop
from penstock.partition.checker import check_partition
from penstock.partition.incidence import incidence
from penstock.partition.problem import (
    BlockCosts,
    PartitionProblem,
    TensorUse,
    block_costs,
    check_k,
    make_problem,
)
from penstock.partition.reduce import reduce_problem
from penstock.partition.search.ideals import best_chain, enumerate_ideals
from penstock.partition.search.incumbent import Incumbent
from penstock.partition.search.local_moves import improve_by_moves
from penstock.partition.search.more_blocks import MoreBlocks, order_of
from penstock.partition.search.orders import (
    breadth_first_order,
    depth_first_order,
    late_order,
    natural_order,
    priority_order,
)
from penstock.partition.search.random_keys import GeneticSettings, search_keys
from penstock.partition.search.slicing import ROUNDING
from penstock.result import Result, Status, relative_gap
from penstock.solver import NO_GAP

FEW_IDEALS = 500
"""All pairs of so many ideals take some milliseconds. That is less than any search needs."""

_TURNS = ((0.15, 0.85), (0.5, 1.0), (1.0, 1.0))
"""Shares of the remaining time, for search and for bounds, in turn."""

MOVE_ROUNDS = 9
"""Of annealing in one turn: three at each heat."""

MOST_IDEALS = 30_000
"""So many ideals are enumerated in about a second. So many pairs take about two seconds."""


@dataclass(frozen=True)
class Partition:
    """``block`` (n,): the block of each operator of ``problem``. Blocks are ``0 .. n_blocks - 1``, none is empty."""

    problem: PartitionProblem
    block: I64

    @property
    def n_blocks(self) -> int:
        """The number of blocks. It is at most the requested k."""
        return int(self.block.max()) + 1

    @property
    def costs(self) -> BlockCosts:
        """The cost of each block, by cause."""
        return block_costs(self.problem, self.block, self.n_blocks)

    def boundaries(self) -> list[int]:
        """The begin and end of each block, with the operators sorted by block: 0, ..., n."""
        return [0, *np.cumsum(np.bincount(self.block)).tolist()]

    def members(self) -> list[list[str]]:
        """The operators of each block, in topological order."""
        names = self.problem.operators
        return [[names[i] for i in np.flatnonzero(self.block == each)] for each in range(self.n_blocks)]


def partition(
    problem: PartitionProblem,
    k: int,
    *,
    time_limit_s: float = 60.0,
    until_gap: float = 0.0,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> Result[Partition]:
    """The best partition found into at most ``k`` blocks, its bottleneck, and a proven lower bound.

    It ends when ``(bottleneck - bound) / bottleneck <= until_gap`` or after ``time_limit_s``. A step that has begun
    is finished, so a short limit may be exceeded by the time of one slicing. ``progress`` is called with a line at
    each step. The same seed gives the same answer, unless the clock ends a step.

    Raises :class:`BadInputError` if k < 1 or k > operators, or if a limit or a gap is below 0.
    """
    check_k(problem, k)
    if not (time_limit_s >= 0 and until_gap >= 0):
        raise BadInputError(f"time limit {time_limit_s} s and gap {until_gap} must be >= 0. Correct them.")
    _load_kernels()
    deadline = Deadline(time_limit_s)
    reduced = reduce_problem(problem)
    run = _Run(reduced.problem, min(k, reduced.problem.n_operators), deadline, until_gap, seed, progress)
    run.solve()
    block = _without_gaps(reduced.expand(run.best.block))
    answer = Partition(problem, block)
    value = check_partition(problem, block.tolist(), answer.n_blocks, float(answer.costs.total.max()))
    if run.bound > value * (1 + NO_GAP):
        raise PenstockError(
            f"{problem.name}: the bound {run.bound} (by {run.stats['bound_by']}) exceeds a partition that reaches "
            f"{value}: one of them is wrong. Report this."
        )
    bound = min(run.bound, value)
    if value - bound <= 10 * ROUNDING * value:
        bound = value
    gap = relative_gap(value, bound)
    status = Status.OPTIMAL if gap <= max(until_gap, NO_GAP) else Status.FEASIBLE
    stats = {**run.stats, "reduced_operators": reduced.problem.n_operators, "seconds": deadline.elapsed_s()}
    return Result(answer, status, value, bound, gap, stats)


@cache
def _load_kernels() -> None:
    """Compile or load every kernel on two operators, so that its first use does not take time from the limit."""
    tiny = make_problem("tiny", ["a", "b"], [1.0, 1.0], [TensorUse(0, (1,), 1.0)])
    best = Incumbent(tiny, incidence(tiny), 2)
    rng = np.random.default_rng(0)
    orders = [make(best.graph) for make in (natural_order, depth_first_order, late_order)]
    search_keys(best, orders, rng, GeneticSettings(individuals=2, generations=1), lambda: False)
    improve_by_moves(best, rng, lambda: False, rounds=1)
    ideals = enumerate_ideals(tiny, 10)
    assert ideals is not None, "a chain of two has three ideals"
    best_chain(tiny, ideals, 2, np.inf, lambda: False)


def _without_gaps(block: I64) -> I64:
    """The same blocks, numbered without empty ones."""
    return np.unique(block, return_inverse=True)[1].astype(np.int64)


class _Run:
    """One call: the best partition, the best bound, and which steps found them."""

    def __init__(
        self,
        problem: PartitionProblem,
        k: int,
        deadline: Deadline,
        until_gap: float,
        seed: int,
        progress: Callable[[str], None] | None,
    ) -> None:
        self.problem, self.k, self.deadline, self.until_gap = problem, k, deadline, until_gap
        self.rng = np.random.default_rng(seed)
        self.progress = progress
        self.graph = incidence(problem)
        self.best = Incumbent(problem, self.graph, k)
        self.more: MoreBlocks | None = None
        self.bound = 0.0
        self.stats: dict[str, float | int | str] = {}
        self._prove(simple_bound(problem, k), "simple")

    def solve(self) -> None:
        self._slice_known_orders()
        self._say("orders")
        if self._is_done() or self._solve_exactly():
            return
        proven_against = np.inf
        for search_share, bound_share in _TURNS:
            self._search(search_share)
            if self._is_done():
                return
            # The programs search for a proof against the best partition. If it is not better, they would only repeat.
            if self.best.value < proven_against:
                proven_against = self.best.value
                self._bound(bound_share)

    def _is_done(self) -> bool:
        return self.deadline.is_over() or self._is_near()

    def _is_near(self) -> bool:
        return self.best.value - self.bound <= max(self.until_gap, NO_GAP) * self.best.value

    def _prove(self, bound: float, by: str) -> None:
        if bound > self.bound:
            self.bound = bound
            self.stats["bound_by"] = by

    def _say(self, step: str) -> None:
        self.stats["found_by"] = self.best.found_by
        if self.progress is not None:
            self.progress(f"{step}: bottleneck {self.best.value:.6g}, bound {self.bound:.6g}")

    def _slice_known_orders(self) -> None:
        self.known = []
        for name, make in (
            ("natural order", natural_order),
            ("depth first order", depth_first_order),
            ("breadth first order", breadth_first_order),
            ("late order", late_order),
        ):
            self.known.append(make(self.graph))
            self.best.offer_order(self.known[-1], name)
            if self._is_done():
                return

    def _solve_exactly(self) -> bool:
        ideals = enumerate_ideals(self.problem, MOST_IDEALS)
        self.stats["ideals"] = len(ideals) if ideals is not None else f"more than {MOST_IDEALS}"
        if ideals is None:
            return False
        if len(ideals) > FEW_IDEALS:
            # Every improvement of the known partition reduces the number of pairs.
            self._search(0.1)
        complete, block = best_chain(
            self.problem, ideals, self.k, self.best.value, self.deadline.part(0.5).is_over
        )
        if block is not None:
            self.best.offer(block, "ideals")
        if complete:
            self._prove(self.best.value * (1 - ROUNDING), "ideals")
        self._say("ideals")
        return complete

    def _search(self, share: float) -> None:
        """Local moves and genetic search in turn, with as many blocks and with more, until all stop improving or the
        share of time is over.

        Moves come first, because on the graphs of the benchmark they find nearly everything. If all the remaining
        time is given, the search continues to its end. Annealing starts again each time.
        """
        part = self.deadline.part(share)

        def stop() -> bool:
            return part.is_over() or self._is_near()

        while not stop():
            before = self.best.value
            self._improve(self.best, stop)
            if not stop() and self.k < self.problem.n_operators:
                self.more = self.more or MoreBlocks(self.best, self.known)
                self.more.help(self.best, partial(self._improve, stop=stop), partial(self._moves, stop=stop))
            if self.best.value == before and share < 1:
                break
        self._say("search")

    def _improve(self, best: Incumbent, stop: Stop) -> None:
        """One turn of each search."""
        self._moves(best, stop)
        settings = GeneticSettings(individuals=20, generations=10)
        starts = [order_of(best), *self.known]
        self._add("generations", search_keys(best, starts, self.rng, settings, stop))
        self._add("searches", 1)

    def _moves(self, best: Incumbent, stop: Stop) -> None:
        self._add("moves", improve_by_moves(best, self.rng, stop, rounds=MOVE_ROUNDS))

    def _bound(self, share: float) -> None:
        start = self.deadline.elapsed_s()
        found = lower_bounds(
            self.problem,
            self.k,
            best_known=self.best.value,
            time_limit_s=self.deadline.left_s() * share,
            until_gap=self.until_gap,
        )
        self._prove(found.bound, found.proven_by)
        for priority in reversed(found.priorities):
            self.best.offer_order(priority_order(self.graph, priority), "levels")
        self.stats.update({f"bound_{method}": bound for method, (bound, _) in found.by_method.items()})
        self.stats["bound_seconds"] = (
            float(self.stats.get("bound_seconds", 0.0)) + self.deadline.elapsed_s() - start
        )
        self._say("bounds")

    def _add(self, key: str, amount: int) -> None:
        self.stats[key] = int(self.stats.get(key, 0)) + amount
