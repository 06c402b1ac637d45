"""The device in detail: why a GPU without a dispatcher runs independent work late.

A sender launches kernels into streams. A stream is mapped onto one of 1-32 *hardware queues*, and a queue is
strictly first in, first out: if its head waits for the kernel before it in its stream, everything behind it
waits too, also kernels of other streams. A kernel's *blocks* are placed while the device has threads,
registers, shared memory and block slots for them; what does not fit waits for blocks to end (*waves*). Blocks
of a later kernel are placed only when all blocks of earlier ones are (*leftover* placement). Copies run on copy
engines, one at a time each. The sender waits if a queue holds ``pending`` launches.

What is simplified: resources are counted over the whole device, not SM by SM, with the exact number of blocks
of one kernel that its SMs hold; all blocks of a kernel take the same time, whatever runs beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.simulate.device.block_kernels import (
    BEFORE,
    BEHIND,
    BLOCKS,
    COLUMNS,
    KIND,
    QUEUE,
    REGISTERS,
    RESIDENT,
    SHARED,
    THREADS,
    run_launches,
)
from penstock.simulate.device.gpus import MOST_QUEUES, Gpu
from penstock.simulate.device.kernel_profiles import Kernel


@final
@dataclass(frozen=True)
class BlockRun:
    """Times in us. A row a launch for ``sent``, ``start`` (first block) and ``end``; ``job_end_us`` a row a job."""

    sent_us: F64
    start_us: F64
    end_us: F64
    job_end_us: F64
    groups: int

    @property
    def sending_us(self) -> float:
        """When the last launch was sent."""
        return float(self.sent_us[-1])


def run_streams(
    gpu: Gpu,
    jobs: Sequence[Sequence[Kernel]],
    *,
    queues: int,
    streams: int | None = None,
    arrival_us: F64 | None = None,
    pause_us: float = 0.0,
    begin_us: float = 0.0,
) -> BlockRun:
    """Launch every kernel of every job, job by job, and run them.

    Job ``j`` goes to stream ``j % streams`` (a stream of its own if None), stream ``s`` to queue ``s %
    queues``. The sender begins at ``begin_us``, needs ``gpu.launch_us`` a launch, pauses ``pause_us`` before
    each job, and sends job ``j`` not before ``arrival_us[j]``. Raises :class:`BadInputError` for queues outside
    1-32 or a job without kernels.
    """
    if not 1 <= queues <= MOST_QUEUES:
        raise BadInputError(f"queues (={queues}) must lie in 1 to {MOST_QUEUES}: a GPU has no more.")
    if not jobs or not all(jobs):
        raise BadInputError("jobs must hold at least one job, and every job at least one kernel.")
    streams = len(jobs) if streams is None else streams
    first = np.concatenate([[0], np.cumsum([len(kernels) for kernels in jobs])])
    count = int(first[-1])
    launches, block_us = _table(gpu, jobs, queues, streams)
    gap_us = np.full(count, gpu.launch_us)
    gap_us[first[:-1]] += pause_us
    not_before_us = np.full(count, begin_us)
    if arrival_us is not None:
        not_before_us[first[:-1]] = np.maximum(begin_us, arrival_us)
    sent_us, start_us, end_us = np.zeros(count), np.zeros(count), np.zeros(count)
    whole = gpu.capacity()
    free = np.array([whole.blocks, whole.threads, whole.registers, whole.shared_bytes], np.int64)
    engines = np.array([1, max(1, gpu.copy_engines - 1)], np.int64)
    groups = run_launches(
        launches,
        block_us,
        gap_us,
        not_before_us,
        free,
        engines,
        queues,
        gpu.pending,
        sent_us,
        start_us,
        end_us,
    )
    return BlockRun(sent_us, start_us, end_us, np.maximum.reduceat(end_us, first[:-1]), groups)


def _table(gpu: Gpu, jobs: Sequence[Sequence[Kernel]], queues: int, streams: int) -> tuple[I64, F64]:
    """The launches as the compiled loop reads them."""
    rows: list[list[int]] = []
    block_us: list[float] = []
    last_of_stream: dict[int, int] = {}
    last_of_queue: dict[int, int] = {}
    residents: dict[Kernel, int] = {}
    for job, kernels in enumerate(jobs):
        stream = job % streams
        queue = stream % queues
        for kernel in kernels:
            if kernel not in residents:
                residents[kernel] = gpu.resident(kernel.each)
            row = [0] * COLUMNS
            row[QUEUE], row[BLOCKS], row[KIND], row[RESIDENT] = (
                queue,
                kernel.blocks,
                kernel.kind,
                residents[kernel],
            )
            row[THREADS], row[REGISTERS] = kernel.each.threads, kernel.each.registers
            row[SHARED] = kernel.each.shared_bytes
            row[BEFORE] = last_of_stream.get(stream, -1)
            row[BEHIND] = -1
            if queue in last_of_queue:
                rows[last_of_queue[queue]][BEHIND] = len(rows)
            last_of_stream[stream] = last_of_queue[queue] = len(rows)
            rows.append(row)
            block_us.append(kernel.block_us)
    return np.array(rows, np.int64), np.array(block_us)
