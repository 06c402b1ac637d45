"""The training loop of every learned generator: a budget, a cosine, averaged weights, and the held-out curve.

AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine to 0 over the budget, gradients clipped to norm 1, and an
exponential average of the weights, which is what is scored and kept.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock.errors import BadInputError, PenstockError
from penstock.traffic.generator.torch.chunks import Rows, grid, length_sorted

Progress = Callable[[float, str], None]

MOST_STEPS = 10_000_000
"""Whatever the budget: the loop is bounded."""

POINTS = 12
"""Of the held-out curve."""


class Targets(Protocol):
    """Streams as a network needs them."""

    rows: Rows
    device: torch.device


@dataclass(frozen=True)
class Recipe:
    """How to train. Exactly one of ``seconds`` (process CPU seconds; wall seconds on a GPU) and ``steps`` is given.

    Only ``steps`` makes the weights a function of the seed: how many steps fit in a time depends on the machine.
    """

    seconds: float | None = 300.0
    steps: int | None = None
    rate: float = 3e-3
    tokens: int = 3072
    average: float = 0.99
    clip: float = 1.0
    warm_up: float = 0.01
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if (self.seconds is None) == (self.steps is None):
            raise BadInputError("training: give either a time or a number of steps.")
        if self.steps is not None and not 1 <= self.steps <= MOST_STEPS:
            raise BadInputError(f"training: steps (={self.steps}) must be 1 to {MOST_STEPS:,}.")
        if self.seconds is not None and not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise BadInputError(f"training: the time (={self.seconds:g} s) must be above 0.")


@dataclass(frozen=True)
class Point:
    """Of the curve: after ``seconds`` and ``steps``, ``nats`` per event on streams held out."""

    seconds: float
    steps: int
    nats: float


@dataclass(frozen=True)
class Trained:
    """What training did; ``curve`` ends with the network that is kept."""

    steps: int
    seconds: float
    curve: tuple[Point, ...] = field(default_factory=tuple)

    @property
    def nats(self) -> float:
        """Held-out nats per event of the network that is kept."""
        return self.curve[-1].nats


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


def torch_device(name: str) -> torch.device:
    """The device ``name``. Raises :class:`BadInputError` if this machine lacks it."""
    if name not in ("cpu", "cuda"):
        raise BadInputError(f"device {name!r} is unknown: use cpu or cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise BadInputError("device cuda: this machine has no GPU that PyTorch sees. Use --device cpu.")
    return torch.device(name)


def train(
    network: nn.Module,
    targets: Any,
    held_out: Any,
    recipe: Recipe,
    *,
    progress: Progress | None = None,
    until_nats: float | None = None,
) -> Trained:
    """Raise the likelihood of ``targets``; ``network`` ends as its average. Both sets of streams are of one kind.

    ``until_nats`` ends training once the held-out curve is that low. Raises :class:`PenstockError` if the loss is not a
    number: the weights would be worthless.
    """
    device = targets.device
    network.to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    own, kept = list(network.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(own, lr=recipe.rate, weight_decay=0.01)
    rng = np.random.default_rng([recipe.seed, 0x7EAC4])
    clock = Clock(device)
    curve: list[Point] = []
    pace = _Pace(recipe)
    steps, chunks = 0, _endless(targets.rows, recipe.tokens, rng)
    while (done := pace.done(steps, clock)) < 1.0 and steps < MOST_STEPS:
        rate = recipe.rate * _shape(done, recipe.warm_up)
        for group in optimiser.param_groups:
            group["lr"] = rate
        found = network.likelihood(targets, grid(targets.rows, next(chunks), device))
        loss = found.loss / found.events.clamp_min(1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(own, recipe.clip, foreach=True)
        optimiser.step()
        steps += 1
        # Early on, the plain average forgets the random start sooner than the exponential one.
        weight = max(1.0 - recipe.average, 1.0 / (steps + 1))
        with torch.no_grad():
            torch._foreach_lerp_(kept, own, weight)
        if done >= _next_point(len(curve)):
            curve.append(_point(average, held_out, recipe, clock, steps))
            _tell(progress, done, curve[-1], pace, clock)
            if until_nats is not None and curve[-1].nats <= until_nats:
                break
    if not curve or curve[-1].steps < steps:
        curve.append(_point(average, held_out, recipe, clock, steps))
    _tell(progress, 1.0, curve[-1], pace, clock)
    with torch.no_grad():
        for mine, better in zip(own, kept, strict=True):
            mine.copy_(better)
    return Trained(steps, clock.seconds(), tuple(curve))


@torch.no_grad()
def held_out_nats(network: nn.Module, targets: Any, tokens: int = 16_384) -> float:
    """Minus the log likelihood per event of ``targets``: types, and gaps on the scale log(gap + 1)."""
    total, events = 0.0, 0
    for chunk in length_sorted(targets.rows, tokens, np.random.default_rng(0)):
        found = network.likelihood(targets, grid(targets.rows, chunk, targets.device))
        total += float(found.loss + found.constant)
        events += int(found.events)
    return total / max(events, 1)


class _Pace:
    """The share of the budget that is spent."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def done(self, steps: int, clock: Clock) -> float:
        if self._recipe.steps is not None:
            return steps / self._recipe.steps
        return clock.seconds() / float(self._recipe.seconds or 1.0)


def _shape(done: float, warm_up: float) -> float:
    rise = min(1.0, (done + 1e-3) / warm_up) if warm_up else 1.0
    return rise * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))


def _next_point(taken: int) -> float:
    """The share of the budget at which the next point is taken: dense at first."""
    return float(((taken + 1) / POINTS) ** 1.5)


def _point(average: nn.Module, held_out: Any, recipe: Recipe, clock: Clock, steps: int) -> Point:
    seconds = clock.seconds()
    nats = clock.untimed(lambda: held_out_nats(average, held_out))
    if not math.isfinite(nats):
        raise PenstockError(
            f"training: the held-out likelihood is {nats} after {steps} steps at rate {recipe.rate:g}. Lower the rate."
        )
    return Point(seconds, steps, nats)


def _tell(progress: Progress | None, done: float, point: Point, pace: _Pace, clock: Clock) -> None:
    if progress is None:
        return
    spent = clock.seconds()
    left = spent / done - spent if done > 0 else 0.0
    progress(
        min(done, 1.0),
        f"{point.nats:.4f} nats an event held out, {point.steps:,} steps, {max(left, 0):.0f} s left",
    )


def _endless(rows: Rows, tokens: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Chunks for ever, each round through all streams in a new order."""
    while True:
        chunks: Sequence[NDArray[np.int64]] = length_sorted(rows, tokens, rng)
        for place in rng.permutation(len(chunks)):
            yield chunks[place]


def detached(tensor: Tensor) -> NDArray[np.float32]:
    """``tensor`` as an array of this process."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
