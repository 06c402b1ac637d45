"""The names of policies, for options. A verb's help must not load the simulator. A test compares them with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from penstock.cli.common.numbers import FiniteRange
from penstock.schedule.rule_numbers import DEFAULT_POLICY, RULES

__all__ = [
    "DEFAULT_POLICY",
    "POLICIES",
    "ROUTED",
    "STAGEWISE",
    "queue_delay_option",
    "queue_delay_us",
    "routed_policy_option",
]

F = TypeVar("F", bound=Callable[..., Any])

ROUTED = tuple(RULES)
"""Policies that reserve a whole route for each batch: for the server and the closed loop."""

STAGEWISE = ("reactive",)
"""Policies that decide stage by stage. They can only be simulated."""

POLICIES = (*ROUTED, *STAGEWISE)


def routed_policy_option(help: str) -> Callable[[F], F]:
    """Add ``--policy``, of those that reserve a whole route."""
    return click.option(
        "--policy", type=click.Choice(ROUTED), default=DEFAULT_POLICY, show_default=True, help=help
    )


def queue_delay_option(command: F) -> F:
    """Add ``--max-queue-delay-ms``."""
    return click.option(
        "--max-queue-delay-ms",
        type=FiniteRange(min=0, max=1e9),
        help="The longest that a request waits for others to fill its batch. Without it, its SLO is the only limit.",
    )(command)


def queue_delay_us(milliseconds: float | None) -> int | None:
    """The value of the option in microseconds."""
    return None if milliseconds is None else round(1_000 * milliseconds)
