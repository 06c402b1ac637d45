"""How finely a model is cut so that others on its device need not wait for all of it.

The rule, from measurements on CPUs and GPUs: never cut the shortest model; cut a longer one into pieces about as long
as the shortest model, at most :data:`MOST_SEGMENTS`; keep the cut if it costs at most :data:`MOST_COST` of the whole
model's time. More segments cost more (each boundary is a launch, and one fusion less) and gain nothing, because no job
waits for less than the shortest model takes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from penstock.errors import BadInputError

MOST_SEGMENTS = 8
MOST_COST = 0.03


def wanted_segments(model_us: float, shortest_us: float) -> int:
    """Into how many segments a model of ``model_us`` is worth cutting beside one of ``shortest_us``."""
    if not 0 < shortest_us <= model_us:
        raise BadInputError(
            f"shortest_us (={shortest_us}) must be > 0 and at most model_us (={model_us}). Correct the times."
        )
    # Half up, and not to even: 2.5 times as long gives three segments, as 3.5 gives four.
    return min(MOST_SEGMENTS, math.floor(model_us / shortest_us + 0.5))


def balanced(costs: Sequence[float], count: int) -> tuple[int, ...]:
    """Boundaries of ``count`` groups of consecutive ``costs`` whose largest sum is least; exact, O(count n^2).

    From 0 to ``len(costs)``. Raises :class:`BadInputError` unless ``1 <= count <= len(costs)``.
    """
    n = len(costs)
    if not 1 <= count <= n:
        raise BadInputError(f"count (={count}) must be from 1 to {n}, the number of costs. Correct it.")
    before = [0.0]
    for cost in costs:
        before.append(before[-1] + cost)
    # largest[j]: the least largest sum of the first j costs in the groups so far; cut[g][j]: where the last begins.
    largest = [0.0] + [math.inf] * n
    cuts: list[list[int]] = []
    for _ in range(count):
        following, cut = [math.inf] * (n + 1), [0] * (n + 1)
        for j in range(1, n + 1):
            for i in range(j):
                value = max(largest[i], before[j] - before[i])
                if value < following[j]:
                    following[j], cut[j] = value, i
        largest = following
        cuts.append(cut)
    boundaries = [n]
    for cut in reversed(cuts):
        boundaries.append(cut[boundaries[-1]])
    return tuple(reversed(boundaries))


@dataclass(frozen=True)
class Cut:
    """A cut that was measured. ``boundaries`` from 0 to the number of parts; ``cost``: cut over whole, minus one."""

    boundaries: tuple[int, ...]
    whole_us: float
    cut_us: float

    @property
    def cost(self) -> float:
        """The share of time that the cut adds; negative if it is faster."""
        return self.cut_us / self.whole_us - 1

    @property
    def is_kept(self) -> bool:
        """Whether it costs little enough."""
        return self.cut_us <= (1 + MOST_COST) * self.whole_us


def choose_cut(
    costs: Sequence[float],
    wanted: int,
    measure: Callable[[tuple[int, ...]], tuple[float, float]],
) -> tuple[Cut | None, tuple[Cut, ...]]:
    """The finest kept cut of at most ``wanted`` segments, or None, and all that were measured.

    ``costs`` are the times of the parts between which a cut may lie; ``measure`` gives (whole, cut) of boundaries,
    in microseconds, from runs in turn. Counts are halved until a cut is kept.
    """
    tried: list[Cut] = []
    count = min(wanted, len(costs))
    while count > 1:
        boundaries = balanced(costs, count)
        tried.append(Cut(boundaries, *measure(boundaries)))
        if tried[-1].is_kept:
            return tried[-1], tuple(tried)
        count //= 2
    return None, tuple(tried)
