"""The held-out curve of a training, and which network of it is kept.

A network that is trained for long enough learns the streams that it sees by heart: its likelihood goes on rising on
them, and falls on others (Prechelt, "Early Stopping - But When?", 1998). So training goes back to the network that was
best on streams held out. While the rate of learning is high, weights are noisy: the likelihood hardly shows it, but
streams that are drawn step by step do, because a small error in each step adds up. So the rate falls to 0 from there
(*cooling*; Haegele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed Training Durations", 2024).
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

WORSE_POINTS = 3
"""Points in a row that are worse than the best before training goes back to it."""

FEWEST_DONE = 0.15
"""Of the budget before training goes back: the first points say little."""

LUCK = 0.002
"""Nats an event by which a noisy network can be the better one by chance: the last one is kept if it is that near."""


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
        """Whether the last points were all worse than the best, ``done`` of the budget being spent."""
        worse = len(self.curve) - 1 - self.curve.index(self.best)
        return done >= FEWEST_DONE and worse >= WORSE_POINTS

    @property
    def kept(self) -> Point:
        """The last point, of which the rate of learning was lowest, unless the best is better by more than luck."""
        last = self.curve[-1]
        return last if last.nats <= self.best.nats + LUCK else self.best

    @torch.no_grad()
    def go_back(self, *networks: nn.Module) -> None:
        """Put the best weights into ``networks``."""
        for network in networks:
            torch._foreach_copy_(list(network.parameters()), self._weights)

    @torch.no_grad()
    def restore(self, network: nn.Module) -> Point:
        """Put the weights of the point that is ``kept`` into ``network``."""
        if self.kept is self.curve[-1]:
            torch._foreach_copy_(list(network.parameters()), list(self._network.parameters()))
        else:
            self.go_back(network)
        return self.kept


@torch.no_grad()
def held_out_nats(network: nn.Module, targets: Any, tokens: int = 16_384) -> float:
    """Minus the log likelihood per event of ``targets``: types, and gaps on the scale log(gap + 1)."""
    total, events = 0.0, 0
    for chunk in length_sorted(targets.rows, tokens, np.random.default_rng(0)):
        found = network.likelihood(targets, grid(targets.rows, chunk, targets.device))
        total += float(found.loss + found.constant)
        events += int(found.events)
    return total / max(events, 1)
