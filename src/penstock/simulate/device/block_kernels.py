"""The event loop of the block model, compiled. :mod:`.blocks` has the words.

A launch is a row of ``launches``: stream, queue, blocks, threads, registers and shared bytes of a block, kind,
the launch before it in its stream and the one after it in its queue (-1 for none).
"""

# mypy: disable-error-code=no-any-return

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from penstock.kernels import compiled

QUEUE, BLOCKS, THREADS, REGISTERS, SHARED, KIND, BEFORE, BEHIND, RESIDENT = range(9)
COLUMNS = 9
_KINDS = 3


@compiled
def run_launches(
    launches: NDArray[np.int64],
    block_us: NDArray[np.float64],
    gap_us: NDArray[np.float64],
    not_before_us: NDArray[np.float64],
    free: NDArray[np.int64],
    engines: NDArray[np.int64],
    queues: int,
    pending: int,
    sent_us: NDArray[np.float64],
    start_us: NDArray[np.float64],
    end_us: NDArray[np.float64],
) -> int:
    """Fill ``sent_us``, ``start_us`` (first block) and ``end_us``; the number of block groups that were placed.

    ``free``: blocks, threads, registers, shared bytes of the whole device. ``engines``: free copy engines, in
    and out.
    """
    count = len(launches)
    head = np.full(queues, -1, np.int64)
    waiting = np.zeros(queues, np.int64)
    left = launches[:, BLOCKS].copy()
    running = np.zeros(count, np.int64)
    ended = np.zeros(count, np.bool_)
    groups = [(0.0, np.int64(0), np.int64(0))]
    groups.pop()
    now_us = sender_us = 0.0
    send = placed = 0
    while send < count or len(groups) > 0:
        # What is next: a launch is sent, or a group of blocks ends. The sender waits while its queue is full.
        next_us = np.inf
        if send < count and waiting[launches[send, QUEUE]] < pending:
            next_us = max(now_us, sender_us + gap_us[send], not_before_us[send])
        if len(groups) > 0 and groups[0][0] <= next_us:
            now_us = groups[0][0]
            while len(groups) > 0 and groups[0][0] == now_us:
                _, one, many = heapq.heappop(groups)
                _take(launches[one], free, engines, -many)
                running[one] -= many
                if left[one] == 0 and running[one] == 0:
                    ended[one] = True
                    end_us[one] = now_us
        else:
            now_us = sender_us = sent_us[send] = next_us
            queue = launches[send, QUEUE]
            waiting[queue] += 1
            if head[queue] == -1:
                head[queue] = send
            send += 1
        # Place blocks: the oldest head whose stream is free, whole before the next one gets any (leftover).
        closed = np.zeros(_KINDS, np.bool_)
        while True:
            one = _oldest(launches, head, ended, closed)
            if one < 0:
                break
            fit = min(left[one], _room(launches[one], free, engines, running[one]))
            if fit > 0:
                if left[one] == launches[one, BLOCKS]:
                    start_us[one] = now_us
                _take(launches[one], free, engines, fit)
                left[one] -= fit
                running[one] += fit
                placed += 1
                heapq.heappush(groups, (now_us + block_us[one], one, fit))
            if left[one] > 0:
                closed[launches[one, KIND]] = True
                continue
            waiting[launches[one, QUEUE]] -= 1
            behind = launches[one, BEHIND]
            head[launches[one, QUEUE]] = behind if behind < send else -1
    return placed


@compiled
def _oldest(
    launches: NDArray[np.int64],
    head: NDArray[np.int64],
    ended: NDArray[np.bool_],
    closed: NDArray[np.bool_],
) -> int:
    """The head that was sent first among those whose stream is free and whose kind may still be placed; -1 if
    none."""
    oldest = -1
    for queue in range(len(head)):
        one = head[queue]
        if one >= 0 and (oldest < 0 or one < oldest) and not closed[launches[one, KIND]]:
            before = launches[one, BEFORE]
            if before < 0 or ended[before]:
                oldest = one
    return oldest


@compiled
def _room(
    launch: NDArray[np.int64], free: NDArray[np.int64], engines: NDArray[np.int64], running: int
) -> int:
    """How many more blocks of the launch the device can take now."""
    if launch[KIND] > 0:
        return engines[launch[KIND] - 1]
    room = min(free[0], launch[RESIDENT] - running)
    for row in range(1, 4):
        if launch[row + 1] > 0:
            room = min(room, free[row] // launch[row + 1])
    return room


@compiled
def _take(launch: NDArray[np.int64], free: NDArray[np.int64], engines: NDArray[np.int64], many: int) -> None:
    """Take what ``many`` blocks need; give it back if negative."""
    if launch[KIND] > 0:
        engines[launch[KIND] - 1] -= many
        return
    free[0] -= many
    for row in range(1, 4):
        free[row] -= many * launch[row + 1]
