"""Sampling with a network in PyTorch, step by step: for methods that have no kernel, and on a GPU.

Streams go in blocks of a fixed number, filled up if need be, and draws are keyed by (seed, stream, step): so
what a stream is does not depend on how many are drawn. Unlike the kernel's, the sums of a block may be taken in
another order on other threads or devices, so the last bits, and with them a rare draw, may differ there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.arrays import F64, I64
from penstock.traffic.generator.keyed_draws import stream_keys, uniforms
from penstock.traffic.generator.learned import Request
from penstock.traffic.generator.sampling import Rows, check_seed, join_rows

BLOCK = 512
"""Streams of a block on a CPU."""


@dataclass(frozen=True)
class Drawn:
    """One step of A streams: types and gaps (us, below 0: nothing more comes), and whether the stream stops
    after it.
    """

    event: I64
    gap_us: I64
    stops: NDArray[np.bool_]


class Sampler(Protocol):
    """A network that is sampled; one object serves one block."""

    def begin(self, klass: Tensor) -> None:
        """Take up streams of classes ``klass`` (A,)."""
        ...

    def draw(self, uniform: Callable[[int], F64]) -> Drawn:
        """What comes next in each stream; ``uniform(purpose)`` gives one draw for each."""
        ...

    def read(self, drawn: Drawn) -> None:
        """Go on from what was drawn."""
        ...

    def keep(self, chosen: Tensor) -> None:
        """Drop all streams but ``chosen``, whose order stays."""
        ...


@torch.no_grad()
def decode(
    make: Callable[[], Sampler], request: Request, most_steps: int, device: torch.device, block: int = BLOCK
) -> Rows:
    """The streams of ``request``, each of at most ``most_steps`` events."""
    check_seed(request.seed)
    parts = []
    for start in range(0, len(request.streams), block):
        numbers, klass = request.streams[start : start + block], request.klass[start : start + block]
        count = len(numbers)
        # A block is always full, or the order of its sums would depend on how many streams are asked for.
        filler = np.arange(block - count) + (numbers[-1] + 1 if count else 0)
        full = np.concatenate([numbers, filler]).astype(np.int64)
        classes = np.concatenate([klass, np.full(block - count, klass[0], np.int16)])
        rows = _block(make(), request, full, classes, count, most_steps, device)
        kept = rows.owner < count
        parts.append(Rows(rows.owner[kept] + start, rows.event[kept], rows.time_us[kept], rows.cut))
    return join_rows(parts)


def _block(
    sampler: Sampler,
    request: Request,
    numbers: I64,
    klass: NDArray[np.int16],
    count: int,
    most_steps: int,
    device: torch.device,
) -> Rows:
    keys = stream_keys(request.seed, numbers)
    owner = np.arange(len(numbers))
    clock = np.zeros(len(numbers), np.int64)
    alive = np.ones(len(numbers), bool)
    found: list[tuple[I64, I64, I64]] = []
    sampler.begin(torch.from_numpy(klass.astype(np.int64)).to(device))
    for step in range(most_steps):
        drawn = sampler.draw(partial(uniforms, keys, step))
        gap_us = drawn.gap_us
        if step == 0:
            # A stream has at least one event: what would come later comes last of all.
            gap_us = np.where((gap_us < 0) | (gap_us >= request.window_us), request.window_us - 1, gap_us)
        # A sum of two such numbers cannot overflow.
        clock = np.where(alive & (gap_us >= 0), clock + np.clip(gap_us, 0, request.window_us), clock)
        alive &= (gap_us >= 0) & (clock < request.window_us)
        found.append((owner[alive], drawn.event[alive], clock[alive]))
        sampler.read(Drawn(drawn.event, np.where(alive, gap_us, 0), drawn.stops))
        alive &= ~drawn.stops
        running = int(np.count_nonzero(alive))
        if not running:
            break
        if running <= len(alive) // 2:
            chosen = np.flatnonzero(alive)
            sampler.keep(torch.from_numpy(chosen).to(device))
            keys, owner, clock, alive = keys[chosen], owner[chosen], clock[chosen], alive[chosen]
    return Rows(
        np.concatenate([part[0] for part in found]),
        np.concatenate([part[1] for part in found]).astype(np.int16),
        np.concatenate([part[2] for part in found]),
        int(np.count_nonzero(owner[alive] < count)),
    )
