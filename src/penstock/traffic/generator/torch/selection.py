"""The held-out curve of a training, and the network that was best on it.

A network that is trained for long enough learns the streams that it sees by heart: its likelihood goes on rising on
them, and falls on others. So what is kept is not the last network but the one with the highest likelihood on streams
held out (early stopping; Prechelt, "Early Stopping - But When?", 1998).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from penstock.errors import PenstockError
from penstock.traffic.generator.torch.chunks import grid, length_sorted

POINTS = 24
"""Of the held-out curve, if the budget is spent."""

FEWEST_DONE = 0.5
"""Of the budget, before training may end early: a rate that is still high can hide what its decay will bring."""


@dataclass(frozen=True)
class Point:
    """Of the curve: after ``seconds`` and ``steps``, ``nats`` per event on streams held out."""

    seconds: float
    steps: int
    nats: float


class Clock:
    """Process CPU seconds, or wall seconds on a GPU, which works beside the process; can be paused."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._begin = self._now()
        self._out = 0.0

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
            return time.perf_counter()
        return time.process_time()

    def seconds(self) -> float:
        """Spent so far, without what was spent on scoring."""
        return self._now() - self._begin - self._out

    def untimed(self, work: Callable[[], float]) -> float:
        """The result of ``work``, whose time does not count."""
        begin = self._now()
        result = work()
        self._out += self._now() - begin
        return result


class Selection:
    """Scores ``network`` from time to time on the streams ``held_out``, and keeps its weights if they are the best."""

    def __init__(self, network: nn.Module, held_out: Any, clock: Clock) -> None:
        self._network, self._held_out, self._clock = network, held_out, clock
        self._weights = [weight.detach().clone() for weight in network.parameters()]
        self.curve: list[Point] = []

    @property
    def best(self) -> Point:
        """The lowest point so far, the first if there are several."""
        return min(self.curve, key=lambda point: point.nats)

    def due(self, done: float) -> bool:
        """Whether the next point should be taken, ``done`` of the budget being spent. Points are dense at first."""
        return done >= float(((len(self.curve) + 1) / POINTS) ** 1.5)

    @torch.no_grad()
    def take(self, steps: int) -> Point:
        """Score the network after ``steps``. Raises :class:`PenstockError` if its likelihood is not a number."""
        seconds = self._clock.seconds()
        nats = self._clock.untimed(lambda: held_out_nats(self._network, self._held_out))
        if not math.isfinite(nats):
            raise PenstockError(
                f"training: the held-out likelihood is {nats} after {steps} steps. Lower the rate."
            )
        self.curve.append(Point(seconds, steps, nats))
        if self.best is self.curve[-1]:
            torch._foreach_copy_(self._weights, list(self._network.parameters()))
        return self.curve[-1]

    def past_best(self, done: float) -> bool:
        """Whether it has been worse than its best for as many steps as it took to get there."""
        return done >= FEWEST_DONE and self.curve[-1].steps >= 2 * self.best.steps

    @torch.no_grad()
    def restore(self, network: nn.Module) -> Point:
        """Put the best weights into ``network``; the point where they were taken."""
        torch._foreach_copy_(list(network.parameters()), self._weights)
        return self.best


@torch.no_grad()
def held_out_nats(network: nn.Module, targets: Any, tokens: int = 16_384) -> float:
    """Minus the log likelihood per event of ``targets``: types, and gaps on the scale log(gap + 1)."""
    total, events = 0.0, 0
    for chunk in length_sorted(targets.rows, tokens, np.random.default_rng(0)):
        found = network.likelihood(targets, grid(targets.rows, chunk, targets.device))
        total += float(found.loss + found.constant)
        events += int(found.events)
    return total / max(events, 1)
