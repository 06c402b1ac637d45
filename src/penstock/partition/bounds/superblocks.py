"""The bound by superblocks: choose one block, and treat all blocks before it, and all after it, as one.

Theorem. For every index b in 1..k, let L be the blocks before b, M block b, and R the blocks after. The least t with
cost(M) <= t, work(L) + transfers(L) <= (b - 1) t and work(R) + transfers(R) <= (k - b) t is a lower bound. A
partition meets these rows for all b at once. So the largest bound over b counts. It is exact for k = 3, b = 2 (Archer
et al., ICML 2024, section 5). A finer grouping, with more segments of fewer blocks, is never weaker.

In any partition within the cutoff, the work before a boundary after j blocks is in [total - (k - j) cutoff, j
cutoff]. That fixes operators and makes the program tighter. The bound is the smaller of its minimum and the cutoff.
"""

from __future__ import annotations

from collections.abc import Sequence

from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.programs.bound_program import Enclosed, enclose, minimise
from penstock.partition.bounds.programs.segments import SegmentProgram, Window
from penstock.partition.problem import PartitionProblem


def three_widths(k: int, b: int) -> tuple[int, ...]:
    """Blocks in each segment if block ``b`` (1..k) is a segment of its own. There are no empty segments."""
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
    """The program for consecutive groups of ``widths`` blocks. ``windows`` has one entry for each j in 0..k."""
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
    """The minimum for one grouping. ``cutoff`` is the cost of a known partition, > 0.

    The solver's dual bound counts, so the answer is also valid if time ends the run. ``relaxed`` takes only the
    linear relaxation. If the solver claims that a program has no solution, that contradicts the known partition. The
    claim is ignored, and the bound is 0.
    """
    segments = superblock_program(problem, widths, cutoff=cutoff, closures=closures, windows=windows)
    return enclose(minimise(segments.program, time_limit_s=time_limit_s, gap=gap, relaxed=relaxed), cutoff)
