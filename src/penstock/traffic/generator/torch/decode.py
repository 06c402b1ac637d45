"""Sampling with a network in PyTorch, step by step: for methods that have no kernel, and on a GPU.

Draws are keyed by (seed, stream, step), but a library of linear algebra takes its sums in an order that depends on the
size of the batch and on the threads. So networks are sampled in double precision on a CPU: what differs there is some
1e-15 of a value, and no draw in 1e8 notices. A time that comes from a network is first rounded to single precision,
or its last microsecond would notice. On a GPU, where doubles can be slow, sums are of single precision, and a rare
draw differs from that on a CPU, or in another batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


def sampling_type(device: torch.device) -> torch.dtype:
    """The precision in which a network is sampled on ``device``."""
    return torch.float64 if device.type == "cpu" else torch.float32


@contextmanager
def threads_of(request: Request) -> Iterator[None]:
    """Let PyTorch use the threads that ``request`` asks for."""
    before = torch.get_num_threads()
    torch.set_num_threads(request.threads or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@torch.no_grad()
def decode(
    make: Callable[[], Sampler], request: Request, most_steps: int, device: torch.device, block: int = BLOCK
) -> Rows:
    """The streams of ``request``, each of at most ``most_steps`` events."""
    check_seed(request.seed)
    parts = []
    with threads_of(request):
        for start in range(0, len(request.streams), block):
            numbers, klass = request.streams[start : start + block], request.klass[start : start + block]
            rows = _block(make(), request, numbers, klass, most_steps, device)
            parts.append(Rows(rows.owner + start, rows.event, rows.time_us, rows.cut))
    return join_rows(parts)


def _block(
    sampler: Sampler,
    request: Request,
    numbers: I64,
    klass: NDArray[np.int16],
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
        int(np.count_nonzero(alive)),
    )
