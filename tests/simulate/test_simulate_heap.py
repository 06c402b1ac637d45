"""The heap of completions against sorting."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.simulate.routed.heap import heap_drop_first, heap_push


@settings(deadline=None)  # the first call compiles
@given(st.lists(st.integers(0, 5), max_size=40), st.data())
def test_rows_leave_in_order_of_time_then_sequence(times, data):
    heap = np.zeros((64, 4), np.int64)
    size, kept = 0, []
    for sequence, time_us in enumerate(times):
        heap_push(heap, size, time_us, sequence, sequence + 100, sequence % 3)
        size += 1
        kept.append((time_us, sequence, sequence + 100, sequence % 3))
        if data.draw(st.booleans()):
            kept.sort()
            assert tuple(heap[0].tolist()) == kept.pop(0)
            heap_drop_first(heap, size)
            size -= 1
    for row in sorted(kept):
        assert tuple(heap[0].tolist()) == row
        heap_drop_first(heap, size)
        size -= 1
