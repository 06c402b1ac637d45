"""A plan run against arrivals without devices: the run, and its figures by model."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from penstock.api.results.plan_result import PlanResult
from penstock.api.showing.shown import Shown
from penstock.api.showing.summaries import (
    SeedSummary,
    mean_by_key,
    over_seeds,
    seed_document,
    seed_table,
    summary_table,
)
from penstock.api.showing.tables import Part, table
from penstock.api.trials import stream_notes
from penstock.errors import BadInputError
from penstock.plan.dispatch_table import dispatch_table
from penstock.ppipe.simulator.published import simulate_published
from penstock.progress import task
from penstock.record import WINDOW, Record, save_record
from penstock.report.summary import ModelSummary, summarise
from penstock.report.utilisation import busy_by_turns, utilisation, utilisation_by_class
from penstock.schedule.rule_numbers import DEFAULT_POLICY
from penstock.schedule.table import DispatchTable
from penstock.simulate.device.scheduled_record import simulate_scheduled
from penstock.simulate.every_policy import simulate_policy
from penstock.simulate.judge.trial import WARM_UP_SHARE
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.by_model import AnyArrivals
from penstock.units import us_from_seconds

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Mode = Literal["full", "published"]


@dataclass(frozen=True)
class Simulation:
    """How a plan is simulated.

    ``load``: offered rate / planned rate (the verified rate if the plan has one). ``rates_rps``: by model, requests per
    second in its place. ``arrivals``: a process for all models, or several, with ``MODEL=PROCESS`` for one.
    ``seconds``: of arrivals; the first tenth is left out of the figures. ``seeds`` runs have the seeds ``seed``,
    ``seed + 1``, ... ``mode`` ``published`` has the published simulator's simplifications: no noise, no costs, each
    model alone. ``noise``: draw latencies from the profile's 99th percentiles (None: in full mode). ``dispatch_us``:
    the cost of starting a batch, ``overhead_us``: added to each request, both in microseconds. No head of a queue waits
    longer than ``max_queue_delay_us`` for company; None sets no limit.
    """

    load: float
    arrivals: tuple[str, ...]
    seconds: float
    seed: int
    seeds: int
    mode: Mode
    policy: str
    noise: bool | None
    dispatch_us: int
    overhead_us: int
    rates_rps: Mapping[str, float] = field(default_factory=dict)
    max_queue_delay_us: int | None = None

    def __post_init__(self) -> None:
        for name in ("load", "seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise BadInputError(f"--{name} (={value:g}) must be a number > 0.")
        for name, rate in self.rates_rps.items():
            if not (math.isfinite(rate) and rate > 0):
                raise BadInputError(f"--rate {name} (={rate:g}) must be a number > 0.")
        if self.seeds < 1 or self.seed < 0:
            raise BadInputError(f"--seeds (={self.seeds}) must be >= 1 and --seed (={self.seed}) >= 0.")
        costs = self.noise or self.dispatch_us or self.overhead_us or self.max_queue_delay_us is not None
        if self.mode == "published" and costs:
            raise BadInputError(
                "--mode published has no noise and no costs: leave out --noise, --dispatch-us, --overhead-us and "
                "--max-queue-delay-ms, or use --mode full."
            )

    @property
    def has_noise(self) -> bool:
        """Whether latencies are drawn from the profile."""
        return self.mode == "full" if self.noise is None else self.noise


@dataclass(frozen=True, repr=False)
class SimulationResult(Shown):
    """The figures of one or several runs: by seed, the summaries by model and the busy share by device class.

    ``record`` is the last run, with its warm-up: one row a request and one a batch (:mod:`penstock.record`).
    ``notes``: what the load is made of.
    """

    simulation: Simulation
    runs: tuple[tuple[ModelSummary, ...], ...]
    utilisations: tuple[dict[str, float], ...]
    requests: int
    record: Record
    wall_seconds: float
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def models(self) -> list[SeedSummary]:
        """Every model over all seeds."""
        return over_seeds(self.runs)

    @property
    def utilisation(self) -> dict[str, float]:
        """The mean busy share of all devices of each class, used or not."""
        return mean_by_key(self.utilisations)

    def save(self, folder: str | Path, *, force: bool = False) -> None:
        """Write the record to ``folder``. :class:`BadInputError` after several seeds: a record is of one run."""
        if len(self.runs) > 1:
            raise BadInputError(
                f"--seeds (={len(self.runs)}) must be 1 with -o: a record is of one run. Leave one out."
            )
        save_record(self.record, Path(folder), force=force)

    def parts(self) -> list[Part]:
        """Figures by model, and the use of the devices."""
        if len(self.runs) == 1:
            models = summary_table("Models", self.runs[0])
        else:
            models = seed_table(f"Models, mean of {len(self.runs)} seeds and 95% interval", self.models)
        busy = [[name, f"{share:.1%}"] for name, share in self.utilisation.items()]
        return [models, table("Utilisation of all devices, used or not", ["device class", "busy"], busy)]

    def document(self) -> dict[str, Any]:
        """Models, utilisation, and how the plan was run."""
        return {
            "models": self.records(),
            "utilisation": self.utilisation,
            "requests": self.requests,
            "mode": self.simulation.mode,
            "policy": self.simulation.policy,
            "seeds": len(self.runs),
            "warm_up_share": WARM_UP_SHARE,
            "wall_seconds": self.wall_seconds,
        }

    def records(self) -> list[dict[str, Any]]:
        """One row a model. Latencies are -1 if nothing was answered."""
        return [seed_document(model) for model in self.models]

    def plot(self) -> Figure:
        """The share of arrived requests answered within each latency, for each model of the last run."""
        from penstock.api.showing.pictures import lines
        from penstock.record import Outcome

        requests, curves = self.record.requests, {}
        for index, name in enumerate(self.record.models):
            own = requests.model == index
            answered = own & np.isin(requests.outcome, (Outcome.MET, Outcome.LATE))
            latency_ms = np.sort((requests.finish_us - requests.arrival_us)[answered]) / 1e3
            at = np.linspace(0, len(latency_ms) - 1, min(len(latency_ms), 200)).astype(int)
            share = 100 * (at + 1) / max(int(own.sum()), 1)
            curves[name] = list(zip(latency_ms[at].tolist(), share.tolist(), strict=True))
        return lines(curves, "latency (ms)", "requests answered (%)")


def simulate_plan(planned: PlanResult, asked: Simulation, process: AnyArrivals) -> SimulationResult:
    """Run ``planned`` as ``asked`` on the arrivals of ``process``. :class:`BadInputError` for an unknown policy."""
    names = [model.name for model in planned.plan.models]
    unknown = [name for name in asked.rates_rps if name not in names]
    if unknown:
        raise BadInputError(f"--rate {unknown[0]}: the plan has no such model. It has {', '.join(names)}.")
    scheduled = planned.plan.scheduled
    if scheduled is not None:
        asked = _by_turns(asked, scheduled.order)
    table_ = None if scheduled is not None else dispatch_table(planned.plan, planned.profiles)
    rates_rps = [
        asked.rates_rps.get(model.name, asked.load * model.offered_rps) for model in planned.plan.models
    ]
    runs, busy, requests = [], [], 0
    begin = time.perf_counter()
    with task("simulating", asked.seeds) as step:
        for number in range(asked.seeds):
            seed = asked.seed + number
            rng = np.random.default_rng(seed)
            arrivals = draw_arrivals(process, rates_rps, asked.seconds, rng)
            record = _record(planned, table_, arrivals, asked, seed)
            runs.append(_summaries(record, asked.seconds))
            busy.append(_busy(planned, record, asked.seconds))
            requests += len(record.requests.request)
            step(number + 1, f"simulating, seed {seed}")
    return SimulationResult(
        asked,
        tuple(runs),
        tuple(busy),
        requests,
        replace(record, about=_about(asked)),
        time.perf_counter() - begin,
        stream_notes(process, rates_rps),
        planned.warnings,
    )


def _about(asked: Simulation) -> dict[str, str | int | float]:
    """What the record says of itself, with the window that the figures count."""
    window_us = (us_from_seconds(asked.seconds * WARM_UP_SHARE), us_from_seconds(asked.seconds))
    return {
        "command": "simulate",
        "mode": asked.mode,
        "policy": asked.policy,
        "arrivals": ", ".join(asked.arrivals),
        "load": asked.load,
        "seconds": asked.seconds,
        "seed": asked.seed,
        **dict(zip(WINDOW, window_us, strict=True)),
    }


def _by_turns(asked: Simulation, order: str) -> Simulation:
    """How a plan is simulated whose models take turns: its order is the policy, and there is no noise."""
    what = "the plan's models take turns by segments"
    if asked.mode != "full":
        raise BadInputError(f"{what}, which --mode {asked.mode} does not have: use --mode full.")
    if asked.policy != DEFAULT_POLICY:
        raise BadInputError(f"{what} in the order {order}: leave out --policy {asked.policy}.")
    if asked.noise:
        raise BadInputError(f"{what}, and they are simulated with the profile's medians: leave out --noise.")
    return replace(asked, policy=order, noise=False)


def _record(
    planned: PlanResult, table_: DispatchTable | None, arrivals: Arrivals, asked: Simulation, seed: int
) -> Record:
    """What happens, by the simulator for this mode and policy. ``table_``: None if models take turns."""
    if table_ is None:
        costs = {"dispatch_us": asked.dispatch_us, "overhead_us": asked.overhead_us}
        return simulate_scheduled(planned.plan, planned.profiles, arrivals, **costs)
    if asked.mode == "published":
        return simulate_published(planned.plan, table_, arrivals, policy=asked.policy)
    return simulate_policy(
        table_,
        arrivals,
        model_names=[model.name for model in planned.plan.models],
        seed=seed,
        noise=asked.has_noise,
        dispatch_us=asked.dispatch_us,
        overhead_us=asked.overhead_us,
        policy=asked.policy,
        max_queue_delay_us=asked.max_queue_delay_us,
    )


def _summaries(record: Record, seconds: float) -> tuple[ModelSummary, ...]:
    start_us, stop_us = us_from_seconds(seconds * WARM_UP_SHARE), us_from_seconds(seconds)
    return tuple(summarise(record, start_us=start_us, stop_us=stop_us))


def _busy(planned: PlanResult, record: Record, seconds: float) -> dict[str, float]:
    plan = planned.plan
    start_us, stop_us = us_from_seconds(seconds * WARM_UP_SHARE), us_from_seconds(seconds)
    if plan.scheduled is not None:
        busy = busy_by_turns(record, len(plan.devices), start_us, stop_us)
        classes, shares = [name for name, _ in plan.devices], [1] * len(plan.devices)
    else:
        busy = utilisation(record, len(plan.placement), start_us=start_us, stop_us=stop_us)
        workers = sorted(plan.placement, key=lambda placed: placed.worker)
        classes, shares = [placed.device_class for placed in workers], [placed.share for placed in workers]
    available = {name: c.available for name, c in plan.scenario.cluster.device_classes.items()}
    return utilisation_by_class(busy, classes, shares, available)
