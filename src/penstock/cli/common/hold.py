"""The options of ``penstock plan --hold``: the closed loop of planner and simulator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from penstock.cli.common.numbers import Share
from penstock.cli.common.policies import routed_policy_option
from penstock.errors import BadInputError

F = TypeVar("F", bound=Callable[..., Any])


PLANNER_OPTIONS = {
    "planner_name": "--planner",
    "time_limit_s": "--time-limit",
    "gap": "--gap",
    "shared_pools": "--shared-pools",
    "lent_pools": "--lent-pools",
}
HOLD_OPTIONS = {"policy": "--policy", "arrivals": "--arrivals"}


def refuse_ignored(context: click.Context, *, holds: bool) -> None:
    """Raise :class:`BadInputError` for options that a user gave and that the other way of planning would ignore."""
    given = [
        option
        for name, option in (PLANNER_OPTIONS if holds else HOLD_OPTIONS).items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if not given:
        return
    options = " and ".join(given)
    if holds:
        raise BadInputError(
            f"--hold searches with a planner and limits of its own, and measures shared and lent pools too: leave out "
            f"{options}."
        )
    raise BadInputError(
        f"{options} would be ignored: a plan without --hold does not depend on it. Add --hold 0.99, or leave it out."
    )


def hold_options(command: F) -> F:
    """Add ``--hold``, ``--policy`` and ``--arrivals``."""
    for option in (
        click.option(
            "--arrivals",
            multiple=True,
            metavar="[MODEL=]PROCESS",
            help="With --hold: the traffic to plan for, of all models or of one (repeatable) [default: poisson].",
        ),
        routed_policy_option("With --hold: the rule that the dispatcher follows."),
        click.option(
            "--hold",
            type=Share(min_open=True, max_open=True),
            metavar="SHARE",
            help="Plan for the load's own bursts in place of a margin, and state only rates at which SHARE of the "
            "requests (0.99) is met in simulation.",
        ),
    ):
        command = option(command)
    return command
