"""The options of verbs that put plans to the simulator many times, and the trial they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.numbers import FiniteRange

if TYPE_CHECKING:
    from penstock.simulate.trial import Trial

F = TypeVar("F", bound=Callable[..., Any])


def trial_options(command: F) -> F:
    """Add ``--arrivals``, ``--seconds``, ``--seeds`` and ``--noise``."""
    for option in (
        click.option(
            "--noise/--no-noise",
            default=True,
            show_default=True,
            help="Draw latencies from the profile, if it can.",
        ),
        click.option(
            "--seeds",
            "seed_count",
            type=click.IntRange(min=1),
            default=3,
            show_default=True,
            help="How many runs, each of its own arrivals.",
        ),
        click.option(
            "--seconds",
            type=FiniteRange(min=0, min_open=True),
            default=20.0,
            show_default=True,
            help="Simulated time of arrivals in each run.",
        ),
        click.option(
            "--arrivals",
            "spec",
            default="poisson",
            show_default=True,
            help="As 'penstock simulate' takes them.",
        ),
    ):
        command = option(command)
    return command


def make_trial(spec: str, policy: str, seconds: float, seeds: tuple[int, ...], noise: bool) -> Trial:
    """The trial that the options describe."""
    from penstock.simulate.trial import Trial
    from penstock.traffic.spec import parse_arrivals

    return Trial(parse_arrivals(spec), policy, seconds, seeds, noise)
