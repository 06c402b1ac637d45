"""A binary heap of completions in an array, rows (time, sequence, batch, stage), ordered by the first two.

The sequence makes the order total, so that a run does not depend on how the heap breaks ties.
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

from penstock.arrays import I64
from penstock.schedule.kernel import inner, kernel


@kernel
def heap_push(heap: I64, size: int, time_us: int, sequence: int, batch: int, stage: int) -> None:
    """Add a row to the first ``size`` rows; the caller counts."""
    at = size
    while at > 0:
        parent = (at - 1) // 2
        if _before(heap[parent, 0], heap[parent, 1], time_us, sequence):
            break
        _copy(heap, parent, at)
        at = parent
    heap[at, 0], heap[at, 1], heap[at, 2], heap[at, 3] = time_us, sequence, batch, stage


@kernel
def heap_drop_first(heap: I64, size: int) -> None:
    """Remove row 0 of the first ``size`` rows; the caller counts."""
    last = size - 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= last:
            break
        if child + 1 < last and _before(
            heap[child + 1, 0], heap[child + 1, 1], heap[child, 0], heap[child, 1]
        ):
            child += 1
        if _before(heap[last, 0], heap[last, 1], heap[child, 0], heap[child, 1]):
            break
        _copy(heap, child, at)
        at = child
    _copy(heap, last, at)


@inner
def _before(time_us: int, sequence: int, other_us: int, other_sequence: int) -> bool:
    return time_us < other_us or (time_us == other_us and sequence < other_sequence)


@inner
def _copy(heap: I64, source: int, target: int) -> None:
    # Column by column: numba allocates a temporary for a row.
    for column in range(4):
        heap[target, column] = heap[source, column]
