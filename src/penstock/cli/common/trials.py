"""The options of verbs that simulate plans many times."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.common.numbers import FiniteRange
from penstock.cli.common.traffic_options import arrivals_option

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
            help="How many runs. Each has its own arrivals.",
        ),
        click.option(
            "--seconds",
            type=FiniteRange(min=0, min_open=True),
            default=20.0,
            show_default=True,
            help="Simulated time of arrivals in each run.",
        ),
        arrivals_option,
    ):
        command = option(command)
    return command
