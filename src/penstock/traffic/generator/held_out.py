"""Streams that a fit holds out, and its scores on them, which the bundle carries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.errors import BadInputError
from penstock.traffic.generator.protocol import FitOptions, Generator
from penstock.traffic.streams import Streams, split_streams

HELD_OUT = 0.05
MOST_HELD_OUT = 1000


def hold_out(streams: Streams, seed: int) -> tuple[Streams, Streams]:
    """The streams held out, ``HELD_OUT`` of them and at most ``MOST_HELD_OUT``, and those to learn from."""
    return split_streams(streams, min(HELD_OUT, MOST_HELD_OUT / len(streams)), seed)


def held_out_scores(
    generator: Generator, own: Streams, held_out: Streams, options: FitOptions, seed: int
) -> dict[str, float]:
    """Measures of as many streams as were held out, each with the same of real ones (NAME, real)."""
    from penstock.traffic.fidelity import score_streams

    sample = generator.sample(len(held_out), seed, hour=options.hour)
    scores = score_streams(sample, held_out, training=own, machine=options.machine, seed=seed)
    found: dict[str, float | None] = {}
    for measure in scores.measures:
        found |= {measure.name: measure.value, f"{measure.name}, real": measure.truth}
    return {name: value for name, value in found.items() if value is not None}


def scores_of(header: Mapping[str, Any], path: Path) -> dict[str, float]:
    """The scores in ``header``, which was read from ``path``. Raises :class:`BadInputError` if they are no numbers."""
    scores = header.get("scores", {})
    if not isinstance(scores, dict) or not all(
        isinstance(value, int | float) and math.isfinite(value) for value in scores.values()
    ):
        raise BadInputError(f"{path}: scores (={scores!r:.40}) must be numbers by name. Fit the model anew.")
    return {name: float(value) for name, value in scores.items()}
