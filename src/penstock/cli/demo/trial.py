"""One plan in a test: it is served here under load, and simulated with exactly the same arrivals."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.cli.common.output import note
from penstock.cli.demo import settings
from penstock.errors import PenstockError
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.scenario import load_profiles, load_scenario
from penstock.plan.documents.store import LoadedPlan, load_plan, save_plan
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.by_name import PLANNERS
from penstock.record import Record, load_record, save_record
from penstock.report.summary import ModelSummary, summarise
from penstock.serve.load.openloop import run_load
from penstock.serve.local_server import LocalServer
from penstock.serve.spec import DISPATCH_US
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson


@dataclass(frozen=True)
class Trial:
    """A plan and its results. ``measured`` is the client's record, ``served`` the server's, of the same load."""

    label: str
    plan: Plan
    simulated: Record
    measured: Record
    served: Record
    overhead_us: int


def run_trial(label: str, planner: str, scenario_file: Path) -> Trial:
    """Plan ``scenario_file`` with ``planner``, serve the plan and simulate it. Files go beside the scenario."""
    plan_file = scenario_file.parent / f"plan-{planner}.json"
    loaded = _plan(planner, scenario_file, plan_file)
    note(f"  {label}: planned {loaded.plan.models[0].rate_rps:.1f} requests/s; serving")
    run = scenario_file.parent / f"measured-{planner}"
    executors = ["--executor", f"{settings.FAST}=onnxruntime", "--executor", f"{settings.SLOW}=padded"]
    arrivals = _arrivals(loaded.plan, settings.LOAD, settings.SERVE_SECONDS, seed=1)
    with LocalServer(plan_file, executors) as server:
        overhead_us = _calibrate(server.url, loaded)
    # A server of its own, so that its record holds the trial alone. Rows cannot be told apart by their number: a
    # request that was refused has none.
    with LocalServer(plan_file, [*executors, "--record", str(run / "server")]) as server:
        measured = _load(server.url, arrivals)
    served = load_record(run / "server")
    if not served.requests.request.size:
        raise PenstockError(
            f"{label}: the server refused every request: is the machine overloaded? Run the demo again alone."
        )
    simulated = _simulate(loaded, arrivals, overhead_us)
    save_record(measured, run / "client")
    save_record(simulated, scenario_file.parent / f"simulated-{planner}")
    return Trial(label, loaded.plan, simulated, measured, served, overhead_us)


def _plan(planner: str, scenario_file: Path, plan_file: Path) -> LoadedPlan:
    scenario = load_scenario(scenario_file)
    profiles = load_profiles(scenario, scenario_file.parent)
    plan = PLANNERS[planner](SearchLimits()).plan(scenario, profiles).solution
    save_plan(plan, plan_file, profiles)
    return load_plan(plan_file)


def _arrivals(plan: Plan, load: float, seconds: float, seed: int) -> Arrivals:
    rates = [load * model.rate_rps for model in plan.models]
    return draw_arrivals(poisson, rates, seconds, np.random.default_rng(seed))


def _load(url: str, arrivals: Arrivals) -> Record:
    rng = np.random.default_rng(0)
    result = asyncio.run(run_load(url, [settings.MODEL], arrivals, slo_us=None, rng=rng))
    return result.record


def _simulate(loaded: LoadedPlan, arrivals: Arrivals, overhead_us: int) -> Record:
    return simulate(
        dispatch_table(loaded.plan, loaded.profiles),
        arrivals,
        model_names=[settings.MODEL],
        seed=0,
        noise=True,
        dispatch_us=DISPATCH_US,
        overhead_us=overhead_us,
    )


def _calibrate(url: str, loaded: LoadedPlan) -> int:
    """The time of a request outside the workers, in microseconds: the difference of medians at a light load.

    The simulator knows the workers' and the links' time from the profile. The time to parse and forward 600 KB of
    input depends on this machine. It is measured before the trial, not from it.
    """
    light = _arrivals(loaded.plan, settings.CALIBRATE_LOAD, settings.CALIBRATE_SECONDS, seed=2)
    measured, simulated = _summary(_load(url, light)), _summary(_simulate(loaded, light, 0))
    if measured.p50_us < 0 or simulated.p50_us < 0:
        raise PenstockError(
            "no request was answered at a light load: is the machine overloaded? Run the demo again alone."
        )
    return max(0, round(measured.p50_us - simulated.p50_us))


def _summary(record: Record) -> ModelSummary:
    return summarise(record)[0]
