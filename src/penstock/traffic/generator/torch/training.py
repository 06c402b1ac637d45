"""The training loop of every learned generator: a budget, a cosine, averaged weights, and the held-out curve.

AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine to 0 over the budget, gradients clipped to norm 1, and an
exponential average of the weights, which is what is scored. Kept is the average that was best on held-out streams
(:mod:`.selection`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock.errors import BadInputError
from penstock.traffic.generator.torch.chunks import Rows, grid, length_sorted
from penstock.traffic.generator.torch.selection import Clock, Point, Selection

Progress = Callable[[float, str], None]

MOST_STEPS = 10_000_000
"""Whatever the budget: the loop is bounded."""


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
class Trained:
    """What training did in all, its held-out ``curve``, and the point of it that was ``kept``.

    Both are empty for a method that has no likelihood: it keeps its last network.
    """

    steps: int
    seconds: float
    curve: tuple[Point, ...] = ()
    kept: Point | None = None


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
    """Raise the likelihood of ``targets``; ``network`` ends as its average when that was best on ``held_out``.

    Both sets of streams are of one kind, and no stream is in both. Training ends early once it is far past its best.
    ``until_nats`` ends it once the held-out curve is that low. Raises :class:`PenstockError` if the loss is not a
    number: the weights would be worthless.
    """
    device = targets.device
    network.to(device)
    average = copy.deepcopy(network).requires_grad_(False)
    own, kept = list(network.parameters()), list(average.parameters())
    optimiser = torch.optim.AdamW(own, lr=recipe.rate, weight_decay=0.01)
    rng = np.random.default_rng([recipe.seed, 0x7EAC4])
    clock = Clock(device)
    selection = Selection(average, held_out, clock)
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
        if selection.due(done):
            point = selection.take(steps)
            _tell(progress, done, selection, clock)
            if selection.past_best(done) or (until_nats is not None and point.nats <= until_nats):
                break
    if not selection.curve or selection.curve[-1].steps < steps:
        selection.take(steps)
    best = selection.restore(network)
    _tell(progress, 1.0, selection, clock)
    return Trained(steps, clock.seconds(), tuple(selection.curve), best)


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


def _tell(progress: Progress | None, done: float, selection: Selection, clock: Clock) -> None:
    if progress is None:
        return
    spent, last, best = clock.seconds(), selection.curve[-1], selection.best
    left = f"{max(spent / done - spent, 0.0):.0f} s left" if 0 < done < 1 else f"kept step {best.steps:,}"
    lowest = "" if best is last else f" (best {best.nats:.4f} at step {best.steps:,})"
    progress(min(done, 1.0), f"{last.nats:.4f} nats an event held out{lowest}, {last.steps:,} steps, {left}")


def _endless(rows: Rows, tokens: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Chunks for ever, each round through all streams in a new order."""
    while True:
        chunks: Sequence[NDArray[np.int64]] = length_sorted(rows, tokens, rng)
        for place in rng.permutation(len(chunks)):
            yield chunks[place]


def detached(tensor: Tensor) -> NDArray[np.float32]:
    """``tensor`` as an array of this process."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
