"""Autoscaling asked as a question: the ladder of plans, a day on it, and the static plans that it is compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from penstock.api.results.autoscale_result import AutoscaleResult, DayRow, LadderRung
from penstock.arrays import F64
from penstock.errors import BadInputError, InfeasibleError
from penstock.plan.autoscale.forecast import DayBefore, Forecast, KnownDay, LiveForecast
from penstock.plan.autoscale.rungs import cheapest_plan, rung_of, worthwhile
from penstock.plan.autoscale.scaler import ScalingRules
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.scenario import Scenario
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.table import Profile
from penstock.progress import task
from penstock.schedule.rule_numbers import DEFAULT_POLICY, RULES
from penstock.simulate.autoscaled.day import DayCounts, HowServed, ServedRung, serve_day
from penstock.simulate.autoscaled.timeline import Timeline, static_timeline, timeline, window_loads
from penstock.simulate.judge.sweep import sweep
from penstock.simulate.judge.trial import Trial
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.by_model import AnyArrivals, parse_by_model
from penstock.traffic.spec import parse_arrivals

DAY_S = 86_400.0
ABOVE_PEAK = 1.3
"""The highest rung is planned for so many times what the day needs: a plan may hold less than its rate."""
JUDGED_S = 20.0
ForecastName = Literal["live", "yesterday", "known"]
OTHER_DAY = 1_000_003
"""Added to the seed, for the day before: by default the same arrivals with other chance."""


@dataclass(frozen=True)
class Autoscaling:
    """``rates_rps``: by model, the mean of the day, and the base of factors; by default the scenario's demands.

    ``forecast`` ``live``: from the load of the last minutes; ``yesterday``: also from the hours of the day before;
    ``known``: also from its minutes, as if it were the day itself. ``before``: the arrivals of the day before, by
    default the same. ``target``: the share of requests that a rung holds at its factor.
    """

    arrivals: tuple[str, ...] = ("diurnal:amplitude=0.6,start=0",)
    rates_rps: Mapping[str, float] = field(default_factory=dict)
    seconds: float = DAY_S
    seed: int = 0
    rungs: int = 12
    forecast: ForecastName = "live"
    target: float = 0.99
    policy: str = DEFAULT_POLICY
    rules: ScalingRules = field(default_factory=ScalingRules)
    noise: bool = True
    before: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.seconds) and self.seconds >= 2 * self.rules.every_s):
            raise BadInputError(
                f"--seconds (={self.seconds:g}) must be at least two decisions, {2 * self.rules.every_s:g} s."
            )
        if self.rungs < 2 or self.seed < 0:
            raise BadInputError(f"--rungs (={self.rungs}) must be >= 2 and --seed (={self.seed}) >= 0.")
        if not 0 < self.target < 1:
            raise BadInputError(f"--attainment (={self.target:g}) must be above 0% and below 100%.")
        if self.policy not in RULES:
            raise BadInputError(f"--policy (={self.policy!r}) must be one of {', '.join(RULES)}.")


def autoscale_of(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    folder: Path,
    asked: Autoscaling,
    limits: SearchLimits,
) -> AutoscaleResult:
    """A day of ``scenario`` as ``asked``, on a fleet that follows the load and on static ones.

    The scenario's device counts are the most that may be asked for. Raises :class:`BadInputError` without rates or
    prices, and :class:`InfeasibleError` if no rung can be planned.
    """
    base = _base_rates(scenario, asked.rates_rps)
    names = [model.name for model in scenario.models]
    scenario = scenario.with_models(lambda model: model.demanding(base[model.name]))
    rates = [base[name] for name in names]
    process = parse_by_model(asked.arrivals, names)
    arrivals, loads = _day(process, rates, asked, asked.seed)
    needed = float(loads.max()) * asked.rules.safety
    with task("planning", asked.rungs) as step:
        ladder = _ladder(scenario, profiles, asked, needed, limits, step)
    served = [ServedRung.of(one.plan, dispatch_table(one.plan, profiles)) for one in ladder]
    how = HowServed(asked.policy, asked.seed, asked.noise)

    def run(name: str, line: Timeline) -> DayRow:
        counts = serve_day(served, line.spells, arrivals, names, how)
        return _row(name, line, counts, ladder)

    with task("serving the day", 3 + 2 * len(ladder).bit_length()) as step:
        rungs = [one.rung for one in ladder]
        prices = {
            name: spec.hourly_cost
            for name, spec in scenario.cluster.device_classes.items()
            if spec.hourly_cost
        }
        other = parse_by_model(asked.before, names) if asked.before else process
        forecast = _forecast(asked, lambda: _day(other, rates, asked, asked.seed + OTHER_DAY)[1])
        line = timeline(rungs, prices, asked.rules, forecast, loads)
        followed = run("autoscaled", line)
        step(1, "static plans")
        tried: dict[int, DayRow] = {}

        def static(rung: int) -> DayRow:
            if rung not in tried:
                tried[rung] = run("static", static_timeline(rungs, rung, asked.seconds))
                step(1 + len(tried), f"static plan of rung {rung + 1}")
            return tried[rung]

        same = static(_first(len(rungs), lambda rung: static(rung).attainment >= followed.attainment))
        held = static(_first(len(rungs), lambda rung: static(rung).attainment >= asked.target))
    warnings = []
    if rungs[-1].factor < needed:
        warnings.append(
            f"the highest rung holds {rungs[-1].factor:.2f} times the mean rates, and the day needs {needed:.2f} with "
            f"the safety margin: give the classes a higher count"
        )
    return AutoscaleResult(
        asked.rules,
        asked.target,
        asked.forecast,
        base,
        tuple(ladder),
        tuple(loads.tolist()),
        line,
        followed,
        same,
        held,
        profiles,
        folder,
        tuple(warnings),
    )


def _forecast(asked: Autoscaling, day_before: Callable[[], F64]) -> Forecast:
    if asked.forecast == "live":
        return LiveForecast()
    loads = day_before()
    if asked.forecast == "known":
        return KnownDay(loads, asked.rules.every_s)
    forecast = DayBefore(asked.seconds)
    for window, load in enumerate(loads.tolist(), 1):
        forecast.observe(window * asked.rules.every_s - asked.seconds, load)
    return forecast


def _base_rates(scenario: Scenario, given: Mapping[str, float]) -> dict[str, float]:
    unknown = given.keys() - {model.name for model in scenario.models}
    if unknown:
        raise BadInputError(f"--rate {min(unknown)}: the scenario has no such model.")
    base: dict[str, float] = {}
    for model in scenario.models:
        rate = given.get(model.name, model.rate_rps)
        if rate is None:
            raise BadInputError(
                f"the mean rate of {model.name} is unknown: give --rate {model.name}=RPS, or rate_rps in the scenario."
            )
        if not (math.isfinite(rate) and rate > 0):
            raise BadInputError(f"--rate {model.name} (={rate:g}) must be a number > 0.")
        base[model.name] = rate
    classes = scenario.cluster.device_classes.items()
    unpriced = [name for name, spec in classes if spec.count and spec.hourly_cost is None]
    if unpriced:
        raise BadInputError(f"autoscaling needs prices: give hourly_cost to {', '.join(unpriced)}.")
    return base


def _day(process: AnyArrivals, rates: Sequence[float], asked: Autoscaling, seed: int) -> tuple[Arrivals, F64]:
    arrivals = draw_arrivals(process, rates, asked.seconds, np.random.default_rng(seed))
    if not len(arrivals):
        raise BadInputError("the day has no requests: give a higher --rate or more --seconds.")
    return arrivals, window_loads(arrivals, rates, asked.rules.every_s, asked.seconds)


def _ladder(
    scenario: Scenario,
    profiles: Mapping[str, Profile],
    asked: Autoscaling,
    needed: float,
    limits: SearchLimits,
    step: Callable[[int, str], None],
) -> list[LadderRung]:
    """Plans of least cost from a part of what the day needs up to more than it, each with what the simulator says it
    holds."""
    planner = PoolPlanner(limits)
    trial = Trial(
        parse_arrivals("poisson"),
        asked.policy,
        JUDGED_S,
        seeds=(asked.seed, asked.seed + 1),
        noise=asked.noise,
    )
    rates = [model.weight for model in scenario.models]
    found: list[LadderRung] = []
    for number in range(1, asked.rungs + 1):
        factor = needed * ABOVE_PEAK * number / asked.rungs
        plan = cheapest_plan(scenario, profiles, planner, factor)
        step(number, f"rung {number} of {asked.rungs}")
        if plan is None:
            continue
        held = sweep(
            dispatch_table(plan, profiles),
            [factor * rate for rate in rates],
            trial,
            target=asked.target,
            tolerance=0.02,
        )
        holds = min(one.rate_rps / rate for one, rate in zip(held, rates, strict=True))
        if holds > 0:
            found.append(LadderRung(plan, rung_of(plan, holds), factor))
            if holds >= needed:
                break
    if not found:
        raise InfeasibleError(
            "no rung can be planned: the fleet serves no part of the day's rates within the SLOs. "
            "'penstock capacity' says what it serves."
        )
    return [found[place] for place in worthwhile([one.rung for one in found])]


def _first(count: int, holds: Callable[[int], bool]) -> int:
    """The first of ``count`` numbers for which ``holds``, if it holds from there on; the last one if for none."""
    low, high = 0, count - 1
    while low < high:
        middle = (low + high) // 2
        if holds(middle):
            high = middle
        else:
            low = middle + 1
    return low


def _row(name: str, line: Timeline, counts: DayCounts, ladder: Sequence[LadderRung]) -> DayRow:
    most: dict[str, int] = {}
    for spell in line.spells:
        for device_class, count in ladder[spell.rung].rung.devices.items():
            most[device_class] = max(most.get(device_class, 0), count)
    return DayRow(
        name=name if len(line.spells) > 1 or name != "static" else f"static, rung {line.spells[0].rung + 1}",
        cost=line.cost,
        attainment=counts.attainment,
        worst_hour=counts.worst_hour,
        requests=int(counts.came.sum()),
        switches=len(line.spells) - 1,
        most_devices=most,
    )
