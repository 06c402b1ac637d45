"""Spans of time as people write them: 90s, 30m, 1h."""

from __future__ import annotations

import math

import click

SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
LONGEST_S = 366 * 86_400.0


def span_us(context: click.Context, parameter: click.Parameter, text: str | None) -> int | None:
    """The callback of an option that takes a span: whole microseconds. None if it was not given."""
    if text is None:
        return None
    try:
        seconds = float(text[:-1]) * SECONDS[text[-1:]]
    except (ValueError, KeyError):
        raise click.BadParameter(
            f"{text!r} is not a span of time: write a number with s, m, h or d, such as 1h."
        ) from None
    if not (math.isfinite(seconds) and 1e-6 <= seconds <= LONGEST_S):
        raise click.BadParameter(f"{text!r} must be above 0 and at most a year.")
    return round(seconds * 1e6)
