"""``penstock traffic generate``: streams from a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import FiniteRange, seed_option
from penstock.cli.common.output import force_option, json_option, note, print_json

if TYPE_CHECKING:
    from penstock.traffic.generator.protocol import Generator

PILOT = 1000
"""Streams drawn to find out how many events a stream has, for --rate."""

MOST_STREAMS = 50_000_000


@click.command(name="generate")
@click.argument("bundle", metavar="BUNDLE", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="FILE.csv or FILE.parquet."
)
@click.option("--streams", "count", type=click.IntRange(1, MOST_STREAMS), help="Number of streams.")
@click.option(
    "--rate", "rate", type=FiniteRange(min=0, min_open=True), help="Events per second, instead of --streams."
)
@click.option("--hour", type=click.IntRange(0, 23), help="Hour of a BUNDLE with several [default: its last].")
@click.option(
    "--mix", "mix_text", help="Weights of the classes: phone=3,tablet=1 [default: as in the trace]."
)
@click.option(
    "--speed",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Divide all times.",
)
@click.option(
    "--burst",
    type=FiniteRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Load of the middle tenth of the window, as a multiple of the rest.",
)
@seed_option("the streams")
@click.option(
    "--threads", type=click.IntRange(min=1), help="The streams do not depend on it [default: all cores]."
)
@click.option("--device", type=click.Choice(("cpu", "cuda")), default="cpu", show_default=True)
@force_option
@json_option
def generate(
    bundle: Path,
    output: Path,
    count: int | None,
    rate: float | None,
    hour: int | None,
    mix_text: str | None,
    speed: float,
    burst: float,
    seed: int,
    threads: int | None,
    device: str,
    force: bool,
    as_json: bool,
) -> None:
    """Draw streams from the generator in BUNDLE. The same seed gives the same streams.

    --rate superposes as many streams as are needed. Each keeps its order and its gaps. --speed and --burst change
    times, the same for all streams, to show other cases. They never change the order within a stream.

    \b
    Example:
      penstock traffic generate bundle --streams 3500 -o streams.parquet
      penstock traffic generate bundle --rate 200 --hour 11 --mix phone=1,tablet=3 --burst 5 -o what-if.csv
    """
    from penstock.errors import BadInputError
    from penstock.files import refuse_overwrite
    from penstock.traffic.generator.protocol import load_generator
    from penstock.traffic.streams import write_streams
    from penstock.traffic.what_if import faster, with_burst

    if (count is None) == (rate is None):
        raise BadInputError(
            "give one of --streams and --rate: how many streams, or how many events a second."
        )
    refuse_overwrite(output, force)
    generator = _placed(load_generator(bundle), threads, device)
    mix = _mix(mix_text) if mix_text else None
    if count is None:
        count = _count(generator, float(rate or 0.0) / speed, mix, hour)
    drawn = with_burst(faster(generator.sample(count, seed, mix=mix, hour=hour), speed), burst)
    write_streams(output, drawn, force=force)
    note(
        f"Wrote {len(drawn):,} streams, {drawn.n_events:,} events, {drawn.events_per_second:,.1f} a second, "
        f"to {output}."
    )
    if as_json:
        print_json(
            {
                "output": str(output),
                "streams": len(drawn),
                "events": drawn.n_events,
                "events_per_s": drawn.events_per_second,
                "window_us": drawn.window_us,
                "seed": seed,
            }
        )


def _placed(generator: Generator, threads: int | None, device: str) -> Generator:
    """Where and how it samples, if it can be chosen."""
    from penstock.errors import BadInputError
    from penstock.traffic.generator.learned import LearnedGenerator

    if isinstance(generator, LearnedGenerator):
        return replace(generator, threads=threads, device=device)
    if device != "cpu":
        raise BadInputError(
            f"--device {device}: a bundle of method {generator.method} samples on the CPU alone."
        )
    return generator


def _mix(text: str) -> Mapping[str, float]:
    from penstock.errors import BadInputError

    found: dict[str, float] = {}
    for part in text.split(","):
        name, equals, weight = part.rpartition("=")
        try:
            number = float(weight)
        except ValueError:
            number = float("nan")
        if not (equals and name.strip() and not math.isnan(number)) or name.strip() in found:
            raise BadInputError(
                f"--mix: {part!r} must be CLASS=WEIGHT, each class once, such as phone=3,tablet=1."
            )
        found[name.strip()] = number
    return found


def _count(generator: Generator, rate: float, mix: Mapping[str, float] | None, hour: int | None) -> int:
    """How many streams give ``rate`` events per second, estimated from a few streams with their own seed."""
    from penstock.errors import BadInputError

    pilot: Any = generator.sample(PILOT, 0x91107, mix=mix, hour=hour)
    wanted: int = round(rate * generator.window_us / 1e6 / (pilot.n_events / PILOT))
    if not 1 <= wanted <= MOST_STREAMS:
        raise BadInputError(
            f"--rate: {rate:g} events a second would take {wanted:,} streams of {pilot.n_events / PILOT:.1f} events; "
            f"1 to {MOST_STREAMS:,} are possible. Change the rate."
        )
    return wanted
