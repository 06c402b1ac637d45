"""The bound by superblocks: guess which block sits where, and treat all before it and all after it as one.

Theorem. For every index b in 1..k, with L the blocks before b, M block b and R the blocks after, the least t with
cost(M) <= t, work(L) + transfers(L) <= (b - 1) t and work(R) + transfers(R) <= (k - b) t is a lower bound: a partition
meets these rows for all b at once. So the largest over b counts. It is exact for k = 3, b = 2 (Archer et al., ICML
2024, section 5). A finer grouping, with more segments of fewer blocks, is never weaker.

Work before a boundary after j blocks lies in [total - (k - j) cutoff, j cutoff] in any partition that reaches the
cutoff; that fixes operators and tightens the program, and the bound is the smaller of its minimum and the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.program import Enclosed, enclose, minimise
from penstock.partition.bounds.segments import SegmentProgram, Window
from penstock.partition.problem import PartitionProblem


def three_widths(k: int, b: int) -> tuple[int, ...]:
    """Blocks in each segment where block ``b`` (1..k) stands alone; no empty segments."""
    return tuple(width for width in (b - 1, 1, k - b) if width)


def plain_windows(problem: PartitionProblem, k: int, cutoff: float) -> list[Window]:
    """Limits on the work of the first j blocks, j = 0..k, in any partition within ``cutoff``."""
    total = float(problem.work.sum())
    return [Window(max(0.0, total - (k - j) * cutoff), min(total, j * cutoff)) for j in range(k + 1)]


def superblock_program(
    problem: PartitionProblem,
    widths: Sequence[int],
    *,
    cutoff: float,
    closures: Closures,
    windows: Sequence[Window],
) -> SegmentProgram:
    """The program for consecutive groups of ``widths`` blocks; ``windows`` has one entry for each j in 0..k."""
    segments = SegmentProgram(problem, widths, cutoff=cutoff, closures=closures)
    before = 0
    for boundary, width in enumerate(widths[:-1], start=1):
        before += width
        segments.keep_within(boundary, windows[before])
    return segments


def solve_superblocks(
    problem: PartitionProblem,
    widths: Sequence[int],
    *,
    cutoff: float,
    closures: Closures,
    windows: Sequence[Window],
    time_limit_s: float,
    gap: float = 0.0,
    relaxed: bool = False,
) -> Enclosed:
    """The minimum for one grouping; ``cutoff`` is the cost of a known partition, > 0.

    The solver's dual bound counts, so the answer is valid when time ends early. ``relaxed`` takes the linear relaxation
    only. A program that claims to have no solution contradicts the known partition: the claim is not believed, and the
    bound is 0.
    """
    segments = superblock_program(problem, widths, cutoff=cutoff, closures=closures, windows=windows)
    return enclose(minimise(segments.program, time_limit_s=time_limit_s, gap=gap, relaxed=relaxed), cutoff)
