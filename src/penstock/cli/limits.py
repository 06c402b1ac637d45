"""The options that say how far a planner searches."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.numbers import FiniteRange

F = TypeVar("F", bound=Callable[..., Any])


def limit_options(seconds: float, each: str, *, gap: float = 1e-3) -> Callable[[F], F]:
    """``--time-limit`` with a default of ``seconds``, whose help says ``each``, and ``--gap``, with one of ``gap``."""

    def add(command: F) -> F:
        time_limit = click.option(
            "--time-limit",
            "time_limit_s",
            metavar="S",
            type=FiniteRange(min=0, min_open=True),
            default=seconds,
            show_default=True,
            help=each,
        )
        near_enough = click.option(
            "--gap",
            type=FiniteRange(min=0, max=1),
            default=gap,
            show_default=True,
            help="Relative distance between plan and proven bound that is near enough.",
        )
        return time_limit(near_enough(command))

    return add
