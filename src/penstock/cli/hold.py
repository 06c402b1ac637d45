"""``penstock plan --hold``: the closed loop of planner and simulator, wired."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from penstock.cli.numbers import FiniteRange
from penstock.cli.output import note
from penstock.cli.policies import ROUTED

if TYPE_CHECKING:
    from penstock.plan.closed_loop.search import Measured
    from penstock.plan.plan import Plan
    from penstock.plan.scenario import Scenario
    from penstock.profile.table import Profile

F = TypeVar("F", bound=Callable[..., Any])

SEARCH_SECONDS = 20.0
SEARCH_SEEDS = (0, 1)
"""Enough to tell plans 1% apart that serve hundreds of requests a second; most of the time goes into it."""

VERIFY_SECONDS = 30.0
VERIFY_SEEDS = (100, 101, 102, 103, 104)
"""Seeds that the search never sees."""


def hold_options(command: F) -> F:
    """Add ``--hold``, ``--policy`` and ``--arrivals``."""
    for option in (
        click.option(
            "--arrivals", default="poisson", show_default=True, help="With --hold: the traffic to hold it in."
        ),
        click.option(
            "--policy",
            type=click.Choice(ROUTED),
            default="reservation",
            show_default=True,
            help="With --hold: the data plane's rule.",
        ),
        click.option(
            "--hold",
            type=FiniteRange(min=0, max=1, min_open=True, max_open=True),
            metavar="SHARE",
            help="Choose margins by simulation, and state only rates at which SHARE of the requests (0.99) is met.",
        ),
    ):
        command = option(command)
    return command


@dataclass(frozen=True)
class Holding:
    """What the options say."""

    target: float
    policy: str
    arrivals: str


def plan_held(scenario: Scenario, profiles: Mapping[str, Profile], asked: Holding) -> Plan:
    """The plan of the closed loop, its rates verified on seeds that the search did not use."""
    from penstock.plan.closed_loop.hold import plan_to_hold
    from penstock.plan.plan import Verification
    from penstock.simulate.evaluate import attainments, evaluate
    from penstock.simulate.trial import Trial
    from penstock.traffic.spec import parse_arrivals

    process = parse_arrivals(asked.arrivals)
    search = Trial(process, asked.policy, SEARCH_SECONDS, SEARCH_SEEDS)
    fresh = Trial(process, asked.policy, VERIFY_SECONDS, VERIFY_SEEDS)
    return plan_to_hold(
        scenario,
        profiles,
        evaluate=lambda plan: evaluate(plan, profiles, search, target=asked.target, tolerance=0.01),
        confirm=lambda plan, rates: attainments(plan, profiles, fresh, rates).tolist(),
        verification=Verification(
            target=asked.target,
            policy=asked.policy,
            arrivals=asked.arrivals,
            seconds=VERIFY_SECONDS,
            seeds=list(VERIFY_SEEDS),
        ),
        watch=_tell,
    )


def _tell(measured: Measured) -> None:
    choice = ", ".join(f"{one.margin:g}/{one.taste:g}/{one.stages}" for one in measured.planned.choice)
    pools = ", shared pools" if measured.planned.plan.shared_pools else ""
    note(
        f"margin/taste/stages {choice}{pools}: holds {measured.goodput_rps:.1f} requests/s per unit of weight"
    )
