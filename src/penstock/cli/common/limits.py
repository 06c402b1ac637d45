"""The options that limit the search of a planner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.common.numbers import FiniteRange, Share

F = TypeVar("F", bound=Callable[..., Any])


def limit_options(seconds: float, each: str, *, gap: float = 1e-3) -> Callable[[F], F]:
    """``--time-limit`` with default ``seconds`` and help text ``each``, and ``--gap`` with default ``gap``."""

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
            type=Share(),
            default=gap,
            show_default=True,
            help="Relative distance between plan and proven bound at which the search stops.",
        )
        return time_limit(near_enough(command))

    return add
