"""The options that say what traffic comes: processes and rates, for all models or for one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from penstock.traffic.known import ARRIVALS_HELP

F = TypeVar("F", bound=Callable[..., Any])


def arrivals_option(command: F) -> F:
    """Add ``--arrivals``, repeatable, as ``specs``."""
    return click.option(
        "--arrivals",
        "specs",
        multiple=True,
        metavar="[MODEL=]PROCESS",
        help=f"For all models, or for one (repeatable) [default: poisson]: {ARRIVALS_HELP}",
    )(command)


def as_recorded_option(command: F) -> F:
    """Add ``--as-recorded``."""
    return click.option(
        "--as-recorded",
        is_flag=True,
        help="Replay --arrivals trace:FILE at its own times and rate, once, by default whole.",
    )(command)


def rate_by_model_option(help: str) -> Callable[[F], F]:
    """Add ``--rate MODEL=RPS``, repeatable, as ``rates_rps``."""
    return click.option(
        "--rate", "rates_rps", multiple=True, metavar="MODEL=RPS", callback=_rates_by_model, help=help
    )


def _rates_by_model(
    context: click.Context, parameter: click.Parameter, texts: tuple[str, ...]
) -> dict[str, float]:
    """The callback of ``--rate MODEL=RPS``."""
    found: dict[str, float] = {}
    for text in texts:
        name, equals, rate = text.rpartition("=")
        try:
            found[name] = float(rate)
        except ValueError:
            equals = ""
        if not equals or not name:
            raise click.BadParameter(
                f"{text!r} must be a model and its requests per second, such as resnet50=120."
            )
    return found


def rates_of(texts: Sequence[str], models: Sequence[str]) -> tuple[float, ...]:
    """The values of ``--rate [MODEL=]RPS``: none, one for all models, or one for each in their order.

    Raises :class:`BadInputError` for a rate that is no number > 0, and for rates that do not fit ``models``.
    """
    from penstock.errors import BadInputError

    found: list[tuple[str, float]] = []
    for text in texts:
        name, _, rate = text.rpartition("=")
        try:
            value = float(rate)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise BadInputError(f"--rate {text}: must be a number of requests per second > 0, such as 120.")
        found.append((name, value))
    named = {name: rate for name, rate in found if name}
    if not named:
        if len(found) not in (0, 1, len(models)):
            raise BadInputError(
                f"models {', '.join(models)} with {len(found)} rates: give one --rate for each model, or one for all."
            )
        return tuple(rate for _, rate in found)
    if len(named) != len(found) or set(named) != set(models):
        raise BadInputError(
            f"--rate {' --rate '.join(texts)}: give one MODEL=RPS for each of the models {', '.join(models)}."
        )
    return tuple(named[name] for name in models)
