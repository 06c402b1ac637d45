"""Numbers as values of options, and the options that every drawing verb has."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click


class Share(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A share: a number from 0 to 1, or per cent with the sign, such as 0.99 or 99%.

    ``least`` and ``most`` are allowed unless ``min_open`` or ``max_open`` says otherwise.
    """

    name = "share"

    def __init__(
        self, least: float = 0.0, most: float = 1.0, *, min_open: bool = False, max_open: bool = False
    ) -> None:
        self._range = FiniteRange(min=least, max=most, min_open=min_open, max_open=max_open)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """``value`` as a number within the range. Fails if it is not one."""
        text = str(value).strip()
        if text.endswith("%"):
            try:
                value = float(text.removesuffix("%")) / 100
            except ValueError:
                self.fail(f"{text!r} is not a share, such as 0.99 or 99%.", param, ctx)
        return self._range.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """What the help shows as the value."""
        return "SHARE"


class FiniteRange(click.FloatRange):
    """A range of finite numbers. Click's own range accepts NaN, because no comparison with a bound excludes it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """``value`` as a number within the range. Fails if it is not one."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


def seed_option(of: str) -> Callable[[Any], Any]:
    """``--seed``, 0 by default. ``of``: what is drawn with it, as the help says."""
    return click.option(
        "--seed", type=click.IntRange(min=0), default=0, show_default=True, help=f"Seed of {of}."
    )
