"""What every learned method does around its training: hold streams out, split the budget, gather the facts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.generator.bundle import CurvePoint, PartFacts, TrainingFacts
from penstock.traffic.generator.held_out import held_out_scores, hold_out
from penstock.traffic.generator.learned import LearnedGenerator, Part, PartModel, with_part
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.torch.pace import Recipe
from penstock.traffic.generator.torch.selection import Point
from penstock.traffic.generator.torch.training import Trained, torch_device
from penstock.traffic.streams import Streams, select_streams

SECONDS = 300.0
ROOM = 8
"""A stream is cut at so many times the longest of the trace: only a network that fails gets there."""


@dataclass(frozen=True)
class Task:
    """One model to train: its streams, those held out, and the model to begin from."""

    streams: Streams
    held_out: Streams
    recipe: Recipe
    options: FitOptions
    start: PartModel | None


FitPart = Callable[[Task], tuple[PartModel, Trained]]


def recipe_of(options: FitOptions, seed: int) -> Recipe:
    """The training recipe that ``options`` ask for: extra ``steps``, ``device``, ``rate``, ``tokens``."""
    extra = dict(options.extra)
    steps = extra.get("steps")
    seconds = None if steps is not None else (options.cpu_seconds or SECONDS)
    recipe = Recipe(seconds=seconds, steps=steps, seed=seed, device=extra.get("device", "cpu"))
    torch_device(recipe.device)
    chosen = {name: extra[name] for name in ("rate", "tokens") if name in extra}
    return replace(recipe, **chosen)


def fit_learned(
    streams: Streams, *, method: str, seed: int, options: FitOptions, fit_part: FitPart
) -> LearnedGenerator:
    """Fit one model, or one a class with extra ``per_class``, and add it to those of ``start_from``."""
    start = options.start_from
    if start is not None:
        _check_start(start, streams, method)
    recipe = recipe_of(options, seed)
    held_out, own = hold_out(streams, seed)
    seen = np.unique(own.klass)
    groups = [seen[at : at + 1] for at in range(len(seen))] if options.extra.get("per_class") else [seen]
    new = []
    for group in groups:
        chosen = np.isin(own.klass, group)
        part = select_streams(own, np.flatnonzero(chosen)) if not chosen.all() else own
        rest = np.flatnonzero(np.isin(held_out.klass, group))
        scored = select_streams(held_out, rest) if len(rest) else part
        one = recipe if len(groups) == 1 else _share_of(recipe, part.n_events / own.n_events)
        begin = _start_model(start, options.hour, group) if isinstance(start, LearnedGenerator) else None
        model, trained = fit_part(Task(part, scored, one, options, begin))
        new.append(Part(_facts(part, scored, group, one, options, trained, begin is not None), model))
    before = start.parts if isinstance(start, LearnedGenerator) else ()
    made = LearnedGenerator(
        method, streams.events, streams.classes, streams.window_us, with_part(before, _shared(new, own))
    )
    if not options.with_scores:
        return made
    return replace(made, scores=held_out_scores(made, own, held_out, options, seed))


def log_scale(streams: Streams) -> NDArray[np.float32]:
    """Mean and deviation of log(gap + 1)."""
    logs = np.log1p(streams.gap_us.astype(np.float64))
    return np.array([logs.mean(), max(float(logs.std()), 1e-3)], np.float32)


def _share_of(recipe: Recipe, share: float) -> Recipe:
    if recipe.steps is not None:
        return replace(recipe, steps=max(1, round(recipe.steps * share)))
    return replace(recipe, seconds=float(recipe.seconds or 0.0) * share)


def _check_start(start: object, streams: Streams, method: str) -> None:
    if not isinstance(start, LearnedGenerator) or start.method != method:
        found = getattr(start, "method", type(start).__name__)
        raise BadInputError(
            f"--from: a bundle of method {found} cannot be fine-tuned as {method}. Name one of {method}."
        )
    for what, old, new in (
        ("events", start.events, streams.events),
        ("classes", start.classes, streams.classes),
        ("window_us", start.window_us, streams.window_us),
    ):
        if old != new:
            raise BadInputError(
                f"--from: {what} of the bundle are {old}, of the trace {new}. They must be the same."
            )


def _start_model(start: LearnedGenerator, hour: int | None, group: NDArray[np.int16]) -> PartModel:
    """The model of the nearest hour that serves the classes of ``group``."""
    able = [part for part in start.parts if set(group.tolist()) <= set(part.facts.serves)]
    if not able:
        raise BadInputError("--from: no model of the bundle serves all classes of the trace. Fit it anew.")

    def distance(part: Part) -> int:
        if hour is None or part.facts.hour is None:
            return 24
        apart = abs(part.facts.hour - hour)
        return min(apart, 24 - apart)

    return min(reversed(able), key=distance).model


def _facts(
    own: Streams,
    held_out: Streams,
    group: NDArray[np.int16],
    recipe: Recipe,
    options: FitOptions,
    trained: Trained,
    fine_tuned: bool,
) -> PartFacts:
    classes = len(own.classes)
    counts = np.bincount(own.klass, minlength=classes)
    events = np.bincount(own.klass, weights=own.sizes, minlength=classes)
    return PartFacts(
        hour=options.hour,
        serves=[int(code) for code in group],
        shares=[float(share) for share in counts / counts.sum()],
        events_per_stream=[float(mean) for mean in events / np.maximum(counts, 1)],
        most_events=int(own.sizes.max()) * ROOM,
        grammar="machine" if options.machine is not None else "learned",
        machine=options.machine.name if options.machine is not None else None,
        training=TrainingFacts(
            device=recipe.device,
            seed=recipe.seed,
            steps=trained.steps,
            seconds=trained.seconds,
            streams=len(own),
            held_out_streams=len(held_out),
            fine_tuned=fine_tuned,
            curve=[_curve_point(point) for point in trained.curve],
            kept=None if trained.kept is None else _curve_point(trained.kept),
        ),
    )


def _curve_point(point: Point) -> CurvePoint:
    return CurvePoint(seconds=point.seconds, steps=point.steps, nats=point.nats)


def _shared(parts: list[Part], own: Streams) -> list[Part]:
    """``parts`` with the shares of the whole trace, of which each knows its own classes alone."""
    counts = np.bincount(own.klass, minlength=len(own.classes)) / len(own)
    shares = [float(share) for share in counts]
    return [Part(part.facts.edited(shares=shares), part.model) for part in parts]
