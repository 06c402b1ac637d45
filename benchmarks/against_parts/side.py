"""One side of a comparison: runs the cases of its own checkout's benchmarks when it is asked to.

Started with the interpreter of that checkout. It reads the name of a case from each line of standard input, and writes
the processor seconds that the case took and a number that says what work was done, as JSON.

What a case is comes from the ``benchmarks/`` of the checkout, because modules may have other names there.

    python side.py CHECKOUT DATA
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

CHECKOUT, DATA = Path(sys.argv[1]), Path(sys.argv[2])
sys.path[0] = str(CHECKOUT / "benchmarks")

SIMULATED_SECONDS = 10.0
DECIDED_BATCHES = 1_500
JUDGED_SECONDS = 20.0
LOAD_FACTORS, HALVINGS = (0.3, 1.3), 6

Run = Callable[[], float]
"""Does the work of a case, and returns a number that says what was done."""


class NotThereError(Exception):
    """This checkout does not have what the case is about."""


@cache
def case(name: str) -> Run:
    """The case called ``kind/rest``, with everything made ahead that is not its subject."""
    kind, _, rest = name.partition("/")
    make = {
        "simulate": simulated,
        "lent": lent,
        "published": published,
        "decisions": decided,
        "plan": planned,
        "goodput": held,
    }
    return make[kind](rest)


def simulated(rest: str) -> Run:
    """Arrivals of ten seconds in the compiled loop: ``policy/noise/load``."""
    import simulate as bench

    policy, noise, load = rest.split("/")
    table = bench.two_stages(1.2 if noise == "noise" else 1.0)
    options = {"noise": True, "dispatch_us": 200} if noise == "noise" else {}
    arrivals = bench.draw_arrivals(
        bench.poisson, [float(load) * bench.PLANNED_RPS], SIMULATED_SECONDS, np.random.default_rng(7)
    )
    run = bench.simulate
    if policy == "reactive":
        run = bench.simulate_stagewise
    else:
        options["policy"] = policy
    return lambda: len(run(table, arrivals, model_names=["m"], seed=0, **options).batches.batch)


def lent(rest: str) -> Run:
    """Two models whose pools hold the same pieces and lend each other workers: the load of both as ``load``."""
    import simulate as bench

    one = bench.two_stages()
    if not hasattr(one, "lend_group"):
        raise NotThereError
    stages, workers = one.stage_offsets[-1], one.worker_offsets[-1]
    table = one._replace(
        slo_us=np.array([80_000, 70_000]),
        pipeline_offsets=np.array([0, 1, 2]),
        stage_offsets=np.array([0, stages, 2 * stages]),
        worker_offsets=np.concatenate([one.worker_offsets, workers + one.worker_offsets[1:]]),
        pipeline_batch=np.tile(one.pipeline_batch, 2),
        latency_us=np.tile(one.latency_us, (2, 1)),
        p99_us=np.tile(one.p99_us, (2, 1)),
        transfer_us=np.tile(one.transfer_us, (2, 1)),
        worker_host=np.concatenate([one.worker_host, one.worker_host.max() + 1 + one.worker_host]),
        worker_device=np.arange(2 * workers),
        lend_group=np.tile(np.arange(stages), 2),
    )
    rates = [float(rest) * bench.PLANNED_RPS] * 2
    arrivals = bench.draw_arrivals(bench.poisson, rates, SIMULATED_SECONDS, np.random.default_rng(7))
    return lambda: len(
        bench.simulate(table, arrivals, model_names=["m", "n"], seed=0, policy="penstock").batches.batch
    )


def published(rest: str) -> Run:
    """The published simulator's simplifications: ``policy/load``, at batch 1."""
    import simulate as bench

    policy, load = rest.split("/")
    table = bench.two_stages(batch=1)
    chunks = list(bench.renewal_chunks(float(load) * 8_000.0, 60.0, np.random.default_rng(7)))
    return lambda: float(bench.tally(table, table.worker_host, chunks, policy=policy).batches)


def decided(rest: str) -> Run:
    """Calls of the policy object as a driver makes them: ``policy/workers``."""
    import decisions as bench

    policy, workers = rest.split("/")
    table = bench.fleet(int(workers))
    bench.BATCHES = 4 * DECIDED_BATCHES
    events = bench.journal_of(table, int(workers), policy)

    def run() -> float:
        decider, dispatched = bench.ReservationPolicy(table, rule=policy), 0
        for call, *arguments in events:
            result = getattr(decider, call)(*arguments)
            dispatched += len(result.dispatches) if call == "decide" else 0
        return float(dispatched)

    return run


def planned(rest: str) -> Run:
    """A published scenario: ``planner/index``."""
    import plan as bench

    planner, index = rest.split("/")
    profiles, imported = reference()
    scenario = list(imported.scenarios.values())[int(index)]
    limits = bench.SearchLimits(time_limit_s=60.0)
    return lambda: float(bench.PLANNERS[planner](limits).plan(scenario, profiles).objective)


def held(rest: str) -> Run:
    """The published plan of a scenario: the load factor at which 99% of every model is met, as
    ``policy/arrivals/index``. Its own bisection, so that both sides judge alike."""
    import goodput as bench

    policy, arrivals, index = rest.split("/")
    profiles, imported = reference()
    name = [name for name in imported.scenarios if name.startswith("maf19-")][int(index)]
    plan = imported.plans[f"{name}-ppipe"]
    table = dispatch_table_of(plan, profiles)
    trial = bench.Trial(bench.parse_arrivals(arrivals), policy, JUDGED_SECONDS, (0, 1))

    def run() -> float:
        low, high = LOAD_FACTORS
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            missed, arrived = trial.counts(table, [middle * model.rate_rps for model in plan.models])
            is_held = (missed.sum(axis=0) <= 0.01 * arrived.sum(axis=0)).all()
            low, high = (middle, high) if is_held else (low, middle)
        return low

    return run


def dispatch_table_of(plan: Any, profiles: Any) -> Any:
    """The arrays of ``plan``; earlier checkouts have the function in another module."""
    try:
        from penstock.plan.dispatch_table import dispatch_table
    except ModuleNotFoundError:
        from penstock.plan.dispatch import dispatch_table
    return dispatch_table(plan, profiles)


@cache
def reference() -> tuple[Any, Any]:
    """The published profiles and scenarios."""
    import plan as bench

    profiles = bench.read_profiles(DATA)
    return profiles, bench.read_plans(DATA, profiles)


def main() -> None:
    # Standard output is for answers: what a library prints goes to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(timed(line.strip())) + "\n")
        answers.flush()


def timed(name: str) -> dict[str, float] | None:
    """Processor seconds and work of one run of a case; None if this checkout does not have it."""
    try:
        run = case(name)
    except NotThereError:
        return None
    gc.collect()
    start = time.process_time()
    work = run()
    return {"seconds": time.process_time() - start, "work": work}


if __name__ == "__main__":
    main()
