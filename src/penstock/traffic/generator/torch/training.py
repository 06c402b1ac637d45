"""The training loop of every learned generator: a budget, a cosine, averaged weights, and the held-out curve.

AdamW (Loshchilov and Hutter, ICLR 2019) with a cosine to 0 over the budget, gradients clipped to norm 1, and an
exponential average of the weights, which is what is scored and kept. If it gets worse on held-out streams, training
goes back to its best and ends from there (:mod:`.selection`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from penstock.errors import BadInputError
from penstock.traffic.generator.torch.chunks import Rows, grid, length_sorted
from penstock.traffic.generator.torch.pace import MOST_STEPS, Pace, Recipe
from penstock.traffic.generator.torch.selection import Clock, Point, Selection

Progress = Callable[[float, str], None]


class Targets(Protocol):
    """Streams as a network needs them."""

    rows: Rows
    device: torch.device


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
    """Raise the likelihood of ``targets``; ``network`` ends as its average at the point of the curve that is kept.

    Both sets of streams are of one kind, and no stream is in both. Once the average is past its best on ``held_out``,
    training goes back to it, lets the rate fall to 0, and ends: more of the budget would make it worse.
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
    pace = Pace(recipe, clock)
    steps, chunks = 0, _endless(targets.rows, recipe.tokens, rng)
    while (done := pace.done(steps)) < 1.0 and steps < MOST_STEPS:
        for group in optimiser.param_groups:
            group["lr"] = pace.rate(steps)
        found = network.likelihood(targets, grid(targets.rows, next(chunks), device))
        loss = found.loss / found.events.clamp_min(1)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(own, recipe.clip, foreach=True)
        optimiser.step()
        steps += 1
        with torch.no_grad():
            torch._foreach_lerp_(kept, own, pace.newest(steps))
        if selection.due(done):
            point = selection.take(steps)
            _tell(progress, selection, pace, done)
            if until_nats is not None and point.nats <= until_nats:
                break
            if not pace.cooling and selection.past_best(done):
                selection.go_back(network, average)
                pace.cool(steps)
    if not selection.curve or selection.curve[-1].steps < steps:
        selection.take(steps)
    point = selection.restore(network)
    _tell(progress, selection, pace, 1.0)
    return Trained(steps, clock.seconds(), tuple(selection.curve), point)


def _tell(progress: Progress | None, selection: Selection, pace: Pace, done: float) -> None:
    if progress is None:
        return
    last, best = selection.curve[-1], selection.best
    lowest = "" if best is last else f" (best {best.nats:.4f} at step {best.steps:,})"
    left = (
        f"{pace.seconds_left(last.steps):.0f} s left" if done < 1 else f"kept step {selection.kept.steps:,}"
    )
    progress(done, f"{last.nats:.4f} nats an event held out{lowest}, {last.steps:,} steps, {left}")


def _endless(rows: Rows, tokens: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Chunks for ever, each round through all streams in a new order."""
    while True:
        chunks: Sequence[NDArray[np.int64]] = length_sorted(rows, tokens, rng)
        for place in rng.permutation(len(chunks)):
            yield chunks[place]


def detached(tensor: Tensor) -> NDArray[np.float32]:
    """``tensor`` as an array of this process."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))
