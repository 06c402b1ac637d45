"""Exact: a dynamic program over ideals, the sets of operators that hold all predecessors of their members.

In a partition the first j blocks together are an ideal. So the optimum is a shortest chain of ideals from the empty
one to all operators. A block J - I pays only for what crosses its two frontiers. The tensors of I's frontier are made
in I, or are model inputs, and are used outside I. The block receives those that it uses. It sends those tensors of
J's frontier that it made. So the time of a pair depends on the frontiers' size, not on the graph's.

Only partitions better than a known one are searched. Pairs whose work alone reaches it are skipped, so only a part
of the pairs remains. Graphs with few parallel branches have few ideals. Others have exponentially many, so both
counts have a limit. The idea is from Tarnawski et al., "Efficient Algorithms for Device Placement of DNN Graph
Operators", NeurIPS 2020, section 5. The limit by the known partition and the frontiers are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64, I64
from penstock.kernels import compiled
from penstock.partition.budget import Stop
from penstock.partition.problem import PartitionProblem
from penstock.partition.search.slicing import ROUNDING

U64 = NDArray[np.uint64]

_WORD = 64
_CHUNK_PAIRS = 2_000_000
"""Pairs between two checks of the clock: some tenths of a second."""


@dataclass(frozen=True)
class Ideals:
    """All ideals, ascending by work, then by size. Every ideal comes after those that it contains.

    ``members`` (ideals, words) has one bit per operator. ``frontier[frontier_first[i]:frontier_first[i + 1]]`` are
    the tensors of ideal i's frontier. ``work`` (ideals,) is their work.
    """

    members: U64
    work: F64
    frontier_first: I64
    frontier: I64

    def __len__(self) -> int:
        return len(self.work)


def enumerate_ideals(problem: PartitionProblem, most: int) -> Ideals | None:
    """All ideals of ``problem``. None if there are more than ``most``."""
    needs = _predecessors(problem)
    n = problem.n_operators
    successors = [0] * n
    for maker, user in problem.edges():
        successors[maker] |= 1 << int(user)
    seen = {0}
    layer = [(0, _bits([i for i in range(n) if needs[i] == 0]))]
    while layer:
        grown = []
        for ideal, free in layer:
            for operator in _members(free):
                larger = ideal | 1 << operator
                if larger in seen:
                    continue
                if len(seen) >= most:
                    return None
                seen.add(larger)
                freed = [i for i in _members(successors[operator]) if needs[i] & ~larger == 0]
                grown.append((larger, free & ~(1 << operator) | _bits(freed)))
        layer = grown
    return _describe(problem, list(seen))


def best_chain(
    problem: PartitionProblem, ideals: Ideals, k: int, below: float, stop: Stop, most_pairs: float = 4e9
) -> tuple[bool, I64 | None]:
    """The optimal partition if it is under ``below``: (whether the search was complete, block (n,) or None).

    If complete and None, it is proven that no partition is under ``below`` (except for rounding). ``stop`` and
    ``most_pairs`` end it early.
    """
    limit = below * (1 - ROUNDING)
    # Blocks by work alone: the limit minus a small tolerance for rounding in sums.
    first = np.searchsorted(ideals.work, ideals.work - limit * (1 + 1e-12), side="left")
    pairs = np.cumsum(np.arange(len(ideals)) - first)
    if pairs[-1] > most_pairs:
        return False, None
    reach = np.full((len(ideals), k + 1), np.inf)
    reach[0, :] = 0.0
    before = np.full((len(ideals), k + 1), -1, np.int64)
    words = _user_words(problem, ideals.members.shape[1])
    start = 1
    while start < len(ideals):
        if stop():
            return False, None
        target = (pairs[start - 1]) + _CHUNK_PAIRS
        end = max(int(np.searchsorted(pairs, target, side="right")), start + 1)
        _extend(
            ideals.members, ideals.work, ideals.frontier_first, ideals.frontier, first,
            start, end, words, problem.tensor_time, problem.tensor_maker, problem.is_output,
            problem.parameter_time, problem.activation_time,
            problem.memory_time if problem.has_memory else np.inf,
            limit, reach, before,
        )  # fmt: skip
        start = end
    if not np.isfinite(reach[-1, k]):
        return True, None
    return True, _blocks(ideals, before, k, problem.n_operators)


def _blocks(ideals: Ideals, before: I64, k: int, n: int) -> I64:
    """Follow the chain back. The operators of J - I are in the block with the number of the step."""
    block = np.zeros(n, np.int64)
    ideal, used = len(ideals) - 1, k
    shifts = np.arange(_WORD, dtype=np.uint64)
    while ideal > 0:
        inside = ((ideals.members[ideal][:, None] >> shifts) & np.uint64(1)).astype(bool).ravel()[:n]
        block[inside] = used - 1  # the blocks of smaller ideals overwrite it
        ideal, used = int(before[ideal, used]), used - 1
    return block


def _predecessors(problem: PartitionProblem) -> list[int]:
    """The predecessors of each operator, as Python integers."""
    needs = [0] * problem.n_operators
    for maker, user in problem.edges():
        needs[user] |= 1 << int(maker)
    return needs


def _bits(members: list[int]) -> int:
    total = 0
    for member in members:
        total |= 1 << member
    return total


def _members(bits: int) -> list[int]:
    found = []
    while bits:
        lowest = bits & -bits
        found.append(lowest.bit_length() - 1)
        bits ^= lowest
    return found


def _describe(problem: PartitionProblem, found: list[int]) -> Ideals:
    n_words = -(-problem.n_operators // _WORD)
    raw = b"".join(ideal.to_bytes(n_words * 8, "little") for ideal in found)
    members = np.frombuffer(raw, "<u8").reshape(len(found), n_words).astype(np.uint64)
    work, size = _sums(members, problem.work)
    order = np.lexsort((size, work))
    members = np.ascontiguousarray(members[order])
    counts, frontier = _frontiers(
        members, problem.use_first, problem.uses, problem.tensor_maker, problem.is_output
    )
    return Ideals(
        members=members,
        work=work[order],
        frontier_first=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        frontier=frontier,
    )


@compiled
def _sums(members, work):  # type: ignore[no-untyped-def]
    """The work and the number of operators of each ideal."""
    total, size = np.zeros(len(members)), np.zeros(len(members), np.int64)
    for ideal in range(len(members)):
        for operator in range(len(work)):
            if _has(members, ideal, operator):
                total[ideal] += work[operator]
                size[ideal] += 1
    return total, size


@compiled
def _frontiers(members, use_first, uses, maker, is_output):  # type: ignore[no-untyped-def]
    """How many tensors each ideal's frontier has, and the tensors, ideal by ideal."""
    counts = np.zeros(len(members), np.int64)
    frontier = np.empty(1024, np.int64)
    size = 0
    for ideal in range(len(members)):
        for tensor in range(len(maker)):
            if maker[tensor] >= 0 and not _has(members, ideal, maker[tensor]):
                continue
            is_open = is_output[tensor]
            at = use_first[tensor + 1] - 1  # the last user is outside the most often
            while not is_open and at >= use_first[tensor]:
                is_open = not _has(members, ideal, uses[at])
                at -= 1
            if is_open:
                if size == len(frontier):
                    grown = np.empty(2 * size, np.int64)
                    grown[:size] = frontier
                    frontier = grown
                frontier[size] = tensor
                size += 1
                counts[ideal] += 1
    return counts, frontier[:size].copy()


def _user_words(problem: PartitionProblem, n_words: int) -> U64:
    """The users of each tensor, one bit per operator: uint64, shape (m, words)."""
    words = np.zeros((problem.n_tensors, n_words), np.uint64)
    tensors = np.repeat(np.arange(problem.n_tensors), np.diff(problem.use_first))
    bits = np.uint64(1) << (problem.uses % _WORD).astype(np.uint64)
    np.bitwise_or.at(words, (tensors, problem.uses // _WORD), bits)
    return words


@compiled
def _extend(  # type: ignore[no-untyped-def]
    members, work, frontier_first, frontier, first, start, end, users, time, maker, is_output,
    parameter_time, activation_time, memory_time, limit, reach, before,
):  # fmt: skip
    """Fill ``reach`` (ideals, k + 1), the least bottleneck under ``limit``, for ideals ``start`` to ``end``."""
    n_words = members.shape[1]
    k = reach.shape[1] - 1
    with_memory = memory_time < np.inf
    for j in range(start, end):
        for i in range(first[j], j):
            # Whether one more block than i uses could improve j at all.
            useful = False
            for used in range(1, k + 1):
                if reach[i, used - 1] < reach[j, used]:
                    useful = True
                    break
            if not useful or not _contains(members, i, j, n_words):
                continue
            cost = work[j] - work[i]
            for at in range(frontier_first[j], frontier_first[j + 1]):
                made = maker[frontier[at]]
                if made >= 0 and not _has(members, i, made):
                    cost += time[frontier[at]]
            for at in range(frontier_first[i], frontier_first[i + 1]):
                tensor = frontier[at]
                for word in range(n_words):
                    if users[tensor, word] & members[j, word] & ~members[i, word]:
                        cost += time[tensor]
                        break
            if with_memory:
                cost += _streamed(members, i, j, parameter_time, activation_time, memory_time)
            if cost >= limit:
                continue
            for used in range(1, k + 1):
                value = max(reach[i, used - 1], cost)
                if value < reach[j, used]:
                    reach[j, used] = value
                    before[j, used] = i


@compiled
def _contains(members, i, j, n_words):  # type: ignore[no-untyped-def]
    """Whether ideal ``j`` contains ideal ``i``. It starts at the last word, because they differ most there."""
    for word in range(n_words - 1, -1, -1):  # noqa: SIM110 - numba has no all() of a generator
        if members[i, word] & ~members[j, word]:
            return False
    return True


@compiled
def _has(members, ideal, operator):  # type: ignore[no-untyped-def]
    return (members[ideal, operator // 64] >> np.uint64(operator % 64)) & np.uint64(1)


@compiled
def _streamed(members, i, j, parameter_time, activation_time, memory_time):  # type: ignore[no-untyped-def]
    need, peak = 0.0, 0.0
    for operator in range(len(parameter_time)):
        if _has(members, j, operator) and not _has(members, i, operator):
            need += parameter_time[operator]
            peak = max(peak, activation_time[operator])
    return max(need + peak - memory_time, 0.0)
