"""The decisive test of generated load: what a plan holds under it, against real load and Poisson.

    python benchmarks/traffic_trial.py                                  # smm and replay; about ten CPU minutes
    python benchmarks/traffic_trial.py --methods gru,smm,replay --minutes 5
    python benchmarks/traffic_trial.py --parts b

(a) five independent hours of simulated serving sessions, the same windows and offsets under every load; (b) the
Azure code trace by halves of time, if it lies in ../shared/data/traces; (c) devices that a demand needs, planned
anew under each load. The model is made up: a request takes 20 ms and 8.5 ms more for each in its batch. The last
line is one JSON document.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.scenario import Scenario, ServedModel
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.schedule.table import DispatchTable
from penstock.simulate.decisive import aggregate_loads, session_loads
from penstock.simulate.decisive.contestants import Contestant, Outcome, Rules, over_folds
from penstock.simulate.decisive.fleet_size import devices_needed
from penstock.simulate.decisive.runs import run_contest
from penstock.simulate.decisive.verdict import judge_aggregate, judge_sessions
from penstock.simulate.decisive.windowed_trace import windowed_trace
from penstock.traffic.generator.protocol import WITH_MACHINE, FitOptions, fit_generator, load_generator
from penstock.traffic.load import load_trace
from penstock.traffic.machine import known_machine
from penstock.traffic.truth.truth_generator import TruthGenerator

TRACE = (
    Path(__file__).resolve().parents[2] / "shared/data/traces/azure_llm_2023/AzureLLMInferenceTrace_code.csv"
)
OTHER_WORLD, TRAINING_WORLD = 100, 500


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--parts", default="a,b,c")
    arguments.add_argument(
        "--methods", default="smm,replay", help="fitted here, of smm, replay, plain, gru, ..."
    )
    arguments.add_argument("--bundles", default="", help="NAME=FOLDER,... of generators fitted before")
    arguments.add_argument(
        "--trace-methods", default="", help="for part b, fitted to minutes of the trace: gru, ..."
    )
    arguments.add_argument("--klass", default="batch", help="of user: batch, agent, chat")
    arguments.add_argument("--streams", type=int, default=3000, help="to fit on")
    arguments.add_argument("--minutes", type=float, default=5.0, help="CPU minutes of a trained method")
    arguments.add_argument("--devices", type=int, default=4)
    arguments.add_argument("--seconds", type=float, default=3500.0, help="of one run of part a")
    arguments.add_argument("--runs", type=int, default=40)
    arguments.add_argument("--half-width", type=float, default=0.015)
    given = arguments.parse_args()
    parts = given.parts.split(",")
    rules = Rules(
        seconds=given.seconds,
        most_runs=given.runs,
        fewest_runs=min(5, given.runs),
        half_width=given.half_width,
    )
    document: dict[str, Any] = {}
    if "a" in parts or "c" in parts:
        real, others = session_contestants(given)
        table = table_for(given.devices)
        assert table is not None
        outcomes = measure("a", table, real, others, rules)
        verdicts = judge_sessions(outcomes, rules)
        document["a"] = show("a: sessions", outcomes, verdicts, rate_of(table))
        if "c" in parts:
            document["c"] = fleets(outcomes, rules, given.devices, rate_of(table))
    if "b" in parts and TRACE.exists():
        few = dataclasses.replace(rules, seconds=120.0)
        table = table_for(2)  # a rate at which folding leaves the bursts of the trace alone
        assert table is not None
        folds = []
        for fold in (0, 1):
            real, others = aggregate_loads.aggregate_contestants(
                load_trace(TRACE),
                {"renewal of its gaps": aggregate_loads.renewal_trace, **of_minutes(given)},
                fold,
            )
            folds.append(
                measure(f"b, fold {fold}", table, real, [*others, *session_loads.plain_loads()], few)
            )
        outcomes = over_folds(folds)
        document["b"] = show("b: Azure code", outcomes, judge_aggregate(outcomes, few), rate_of(table))
    print(json.dumps(document))


def session_contestants(given: argparse.Namespace) -> tuple[Contestant, list[Contestant]]:
    truth = TruthGenerator("serving", {given.klass: 1.0})
    training = dataclasses.replace(truth, world=TRAINING_WORLD).sample(given.streams, 0)
    print(f"fitting on {len(training):,} streams, {training.n_events:,} events")
    made = {}
    for method in filter(None, given.methods.split(",")):
        begin = time.process_time()
        machine = known_machine("serving") if method in WITH_MACHINE else None
        options = FitOptions(cpu_seconds=60 * given.minutes, machine=machine, hour=truth.hour)
        made[method] = fit_generator(method, training, seed=0, options=options)
        print(f"{method}: fitted in {time.process_time() - begin:.1f} CPU s", flush=True)
    for bundle in filter(None, given.bundles.split(",")):
        name, _, folder = bundle.partition("=")
        made[name] = load_generator(Path(folder))
    other = dataclasses.replace(truth, world=OTHER_WORLD)
    return session_loads.simulated_hours("real", "real", truth), [
        session_loads.simulated_hours("other real sample", "other real", other),
        *(session_loads.generated(name, generator) for name, generator in made.items()),
        *session_loads.plain_loads(),
    ]


def of_minutes(given: argparse.Namespace) -> dict[str, aggregate_loads.MakeTrace]:
    options = FitOptions(cpu_seconds=60 * given.minutes)
    return {
        f"{method}, by the minute": windowed_trace(
            lambda streams, method=method: fit_generator(method, streams, seed=0, options=options)
        )
        for method in filter(None, given.trace_methods.split(","))
    }


def table_for(devices: int) -> DispatchTable | None:
    latency = np.array([[20_000 + 8_500 * size for size in range(1, 9)]], np.int64)
    profile = Profile(
        model="m",
        blocks=(Block("all", ("op",), 1, 1),),
        boundary_bytes=(600_000, 4_000),
        tables={("gpu", 1): LatencyTable(latency)},
        provenance=Provenance("measured", "made up", "none", "2026-11-26"),
    )
    scenario = Scenario(
        version=1,
        cluster=Cluster(bandwidth_gbps=10.0, device_classes={"gpu": DeviceClass(count=devices, per_host=4)}),
        models=[ServedModel(name="m", profile="m", slo_us=150_000)],
    )
    return dispatch_table(PoolPlanner().plan(scenario, {"m": profile}).solution, {"m": profile})


def rate_of(table: DispatchTable) -> list[float]:
    """Where the search begins: devices times the rate of a batch of four, less a fifth."""
    return [0.8 * table.n_workers * 4 / 54e-3]


def measure(
    part: str, table: DispatchTable, real: Contestant, others: Sequence[Contestant], rules: Rules
) -> list[Outcome]:
    begin = time.process_time()

    def watch(run: int, outcomes: Sequence[Outcome]) -> None:
        errors = ", ".join(
            f"{o.contestant.name} {o.error.mean:+.1%} ± {o.error.half_width:.1%}" for o in outcomes[1:]
        )
        print(f"{part}, run {run}, {time.process_time() - begin:.0f} CPU s: {errors}", flush=True)

    return run_contest(table, rate_of(table), real, others, rules, watch)


def show(
    title: str, outcomes: Sequence[Outcome], verdicts: Sequence[Any], first_rps: list[float]
) -> dict[str, Any]:
    print(f"\n{title}, {len(outcomes[0].held)} runs")
    rows = []
    for one in outcomes:
        streams = session_loads.streams_of_load(one.contestant, first_rps)
        goodput = float(one.held.mean()) * first_rps[0]
        rows.append(
            {
                "load": one.contestant.name,
                "streams": streams,
                "goodput_rps": goodput,
                "error": one.error.mean,
                "half_width": one.error.half_width,
            }
        )
        counted = "-" if streams is None else f"{streams:,.0f}"
        print(
            f"  {one.contestant.name:20} {counted:>8} streams {goodput:9.1f}/s  {one.error.mean:+7.1%} "
            f"± {one.error.half_width:.1%}"
        )
    for verdict in verdicts:
        print(f"  {verdict.name}: {verdict.result}; {verdict.reason}")
    return {"loads": rows, "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts]}


def fleets(outcomes: Sequence[Outcome], rules: Rules, have: int, first_rps: list[float]) -> dict[str, Any]:
    demand = [0.9 * float(outcomes[0].held.mean()) * first_rps[0]]
    runs = min(5, len(outcomes[0].held))
    print(f"\nc: devices for {demand[0]:.0f}/s, {runs} runs")
    found = {}
    for one in outcomes:
        found[one.contestant.name] = devices_needed(
            table_for, demand, one.contestant, rules, runs, first=have, most=4 * have
        )
        print(f"  {one.contestant.name:20} {found[one.contestant.name]}", flush=True)
    return {"demand_rps": demand[0], "devices": found}


if __name__ == "__main__":
    main()
