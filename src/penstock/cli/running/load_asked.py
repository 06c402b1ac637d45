"""The load that the options of ``penstock load`` describe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.common.output import note_streams

if TYPE_CHECKING:
    import numpy as np

    from penstock.serve.load.openloop import Concurrency
    from penstock.traffic.arrivals import Arrivals

DEFAULT_S = 10.0
"""The length of a load, if neither an option nor a recording says it."""


@dataclass(frozen=True)
class Asked:
    """The load that the options describe."""

    models: tuple[str, ...]
    rates: tuple[float, ...]
    mix: tuple[float, ...]
    arrivals: tuple[str, ...]
    as_recorded: bool
    seconds: float | None
    concurrency: int | None
    video: Path | None
    cameras: int | None
    fps: float | None


def shares_of(text: str | None, models: tuple[str, ...]) -> tuple[float, ...]:
    """The values of ``--mix``, one for each model."""
    import math

    from penstock.errors import BadInputError

    if text is None:
        return (1.0,) * len(models)
    try:
        shares = tuple(float(part) for part in text.split("/"))
    except ValueError:
        shares = ()
    if len(shares) != len(models) or not all(0 < share < math.inf for share in shares):
        raise BadInputError(
            f"--mix {text!r} must be {len(models)} numbers > 0 with a slash between, one for each --model: 3/1."
        )
    return shares


def check_load_options(asked: Asked, closed: bool, fresh: bool) -> None:
    """Raise :class:`BadInputError` for options that contradict each other."""
    from penstock.errors import BadInputError

    if len(set(asked.models)) != len(asked.models):
        raise BadInputError(f"models {', '.join(asked.models)}: give each model once.")
    ways = {
        "--rate": bool(asked.rates),
        "--concurrency": asked.concurrency is not None,
        "--cameras": asked.cameras is not None,
        "--as-recorded": asked.as_recorded,
    }
    given = [way for way, is_given in ways.items() if is_given]
    if len(given) != 1:
        raise BadInputError(
            f"{' and '.join(given) or 'no rate'}: give one of --rate, --concurrency, --as-recorded, and --cameras with "
            f"--fps."
        )
    if (asked.cameras is None) != (asked.fps is None):
        raise BadInputError(
            "--cameras and --fps go together: give both, or --rate with --arrivals cameras:fps=30."
        )
    if asked.concurrency is not None and (closed or fresh):
        raise BadInputError("--concurrency is a closed loop of its own: leave out --closed and --fresh.")
    if closed and fresh:
        raise BadInputError("--closed and --fresh are two rules for the same streams: give one.")


def load_of(asked: Asked, rng: np.random.Generator) -> tuple[Arrivals | Concurrency, float]:
    """The load, and how many seconds it lasts."""
    from penstock.serve.load.openloop import Concurrency
    from penstock.traffic.arrivals import draw_arrivals
    from penstock.traffic.by_model import as_recorded, parse_by_model, recorded_s
    from penstock.traffic.source.cameras import Cameras
    from penstock.units import us_from_seconds

    if asked.concurrency is not None:
        seconds = asked.seconds or DEFAULT_S
        return Concurrency(asked.concurrency, us_from_seconds(seconds), asked.mix), seconds
    rates = asked.rates
    if len(rates) <= 1:
        total = sum(asked.mix)
        rates = tuple((rates[0] if rates else 1.0) * share / total for share in asked.mix)
    if asked.cameras is not None:
        seconds = asked.seconds or DEFAULT_S
        return Cameras(asked.cameras, asked.fps).draw(rates, seconds, rng), seconds
    specs = as_recorded(asked.arrivals) if asked.as_recorded else asked.arrivals
    process = parse_by_model(specs, asked.models)
    seconds = asked.seconds or recorded_s(process) or DEFAULT_S
    note_streams(process, rates)
    return draw_arrivals(process, rates, seconds, rng), seconds


def named(asked: Asked) -> str:
    """The load in words, for the record."""
    if asked.concurrency is not None:
        return f"concurrency {asked.concurrency}"
    if asked.cameras is not None:
        return f"cameras:count={asked.cameras},fps={asked.fps:g}"
    return ", ".join(asked.arrivals) or "poisson"


def samples_of(asked: Asked, normalise: str) -> Any:
    """The frames of ``--video``, None without it."""
    if asked.video is None:
        return None
    from penstock.serve.load.video import video_samples

    return video_samples(asked.video, asked.fps or 30.0, normalise)
