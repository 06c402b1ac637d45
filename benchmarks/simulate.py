"""Simulating: speed, the published experiment beside its published figures, and what its flaws explain.

Beside the figures of the published simulator and of a rerun of its artifact (PPipe, USENIX ATC 2025): 64,000-223,000
simulated requests a second of its inner loop, mean load factors at 99%. Speed is per second of processor time, the
best of three; the work done (batches) is printed too: a faster run that does other work is no gain. The time of a
decision is measured by ``decisions.py``. The experiment needs the reference data at
``../shared/data/ppipe-artifact`` from the repository's root (or a folder named as the first argument).

    python benchmarks/simulate.py [ARTIFACT]
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.ppipe.simulator.load_factors import Experiment, load_factors
from penstock.ppipe.simulator.network import Flaws
from penstock.ppipe.simulator.published import POLICIES, tally
from penstock.ppipe.simulator.renewal_chunks import renewal_chunks
from penstock.profile.table import Profile
from penstock.report.summary import summarise
from penstock.schedule.table import DispatchTable
from penstock.simulate.routed.routed_simulator import simulate
from penstock.simulate.stagewise.stagewise_simulator import simulate_stagewise
from penstock.traffic.arrivals import Arrivals, draw_arrivals
from penstock.traffic.processes.renewal import poisson

T = TypeVar("T")

ARTIFACT = Path(__file__).resolve().parents[2] / "shared" / "data" / "ppipe-artifact"
WORKERS = (25, 75)
BATCH = 8
PLANNED_RPS = 20_000.0
PUBLISHED_SPEED = "published inner loop: 64,000-223,000"
PUBLISHED_FACTORS = {"ppipe": 96.5, "np": 66.8, "dart-r": 74.9}
ABLATION = {"reservation": 91.4, "reactive": 71.1}


def two_stages(p99_ratio: float = 1.0, batch: int = BATCH) -> DispatchTable:
    """One model, two pools of 25 and 75 devices, 4 and 2 devices a host."""
    batches = np.arange(BATCH + 1)
    latency = np.array([2_000 + 950 * batches, 4_000 + 3_050 * batches], np.int64)
    transfer = np.array([0 * batches, 40 * batches], np.int64)
    hosts = np.concatenate([np.arange(25) // 4, 7 + np.arange(75) // 2])
    return DispatchTable(
        slo_us=np.array([80_000]),
        pipeline_offsets=np.array([0, 1]),
        stage_offsets=np.array([0, 2]),
        worker_offsets=np.array([0, WORKERS[0], sum(WORKERS)]),
        pipeline_batch=np.array([batch]),
        latency_us=latency,
        p99_us=(latency * p99_ratio).astype(np.int64),
        transfer_us=transfer,
        worker_host=hosts,
        worker_device=np.arange(sum(WORKERS)),
    )


def best_of_three(run: Callable[[], T]) -> tuple[float, T]:
    """Processor seconds of the best of three runs, after one that compiles."""
    result = run()
    seconds = []
    for _ in range(3):
        start = time.process_time()
        run()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def published_speed() -> None:
    """Batch 8 and batch 1: the same requests in eight times the batches."""
    for policy in POLICIES:
        for batch, planned_rps in ((BATCH, PLANNED_RPS), (1, 8_000.0)):
            table = two_stages(batch=batch)
            for load in (0.5, 0.9, 1.1):
                rng = np.random.default_rng(7)
                chunks = list(renewal_chunks(load * planned_rps, 60.0, rng))
                seconds, found = best_of_three(lambda: tally(table, table.worker_host, chunks, policy=policy))  # noqa: B023
                print(
                    f"published mode, {policy}, batch {batch}, load {load}: {found.requests / seconds:,.0f} requests/s "
                    f"({found.requests} requests, {found.batches} batches), attainment {found.attainment:.4f}   "
                    f"[aim 2,000,000; {PUBLISHED_SPEED}]"
                )


def full_speed() -> None:
    """Everything recorded; without noise, and with noise, costs and corrections by completions."""
    for name, run, table, options in (
        ("reservation, deterministic", simulate, two_stages(), {}),
        ("reservation, everything on", simulate, two_stages(1.2), {"noise": True, "dispatch_us": 200}),
        ("reactive, everything on", simulate_stagewise, two_stages(1.2), {"noise": True, "dispatch_us": 200}),
    ):
        for load in (0.5, 0.9, 1.1):
            arrivals = draw_arrivals(poisson, [load * PLANNED_RPS], 10.0, np.random.default_rng(7))
            seconds, record = best_of_three(
                lambda: run(table, arrivals, model_names=["m"], seed=0, **options)  # noqa: B023
            )
            print(
                f"full mode, {name}, load {load}: {len(arrivals) / seconds:,.0f} requests/s ({len(arrivals)} requests, "
                f"{len(record.batches.batch)} batches and stages), attainment {summarise(record)[0].attainment:.4f}   "
                f"[aim 500,000; {PUBLISHED_SPEED}]"
            )


def flat_memory() -> None:
    """Ten and a hundred times the run, in the same memory."""
    table = two_stages()
    for seconds in (30.0, 300.0, 3_000.0):
        found = tally(table, table.worker_host, renewal_chunks(18_000.0, seconds, np.random.default_rng(1)))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (
            2**20 if sys.platform == "darwin" else 2**10
        )
        print(f"{found.requests} requests without a record: peak memory {peak_mb:.0f} MB")


class Reference:
    """The reference plans with their tables, by set, and the rates that load factors refer to."""

    def __init__(self, artifact: Path) -> None:
        self._profiles: Mapping[str, Profile] = read_profiles(artifact)
        self._plans = read_plans(artifact, self._profiles).plans
        self._tables = {name: dispatch_table(plan, self._profiles) for name, plan in self._plans.items()}

    def of(self, subset: str, planner: str) -> list[tuple[Plan, DispatchTable, list[float]]]:
        """Each plan, its table, and the rates of the PPipe plan: its objective times the weights."""
        chosen = []
        for name, plan in self._plans.items():
            if name.startswith(subset) and name.endswith(f"-{planner}"):
                asked = self._plans[f"{name.removesuffix(planner)}ppipe"]
                rates = [asked.objective * model.weight for model in asked.scenario.models]
                chosen.append((plan, self._tables[name], rates))
        return chosen

    def mean(self, subset: str, planner: str, experiment: Experiment) -> tuple[float, Sequence[float], int]:
        """The mean load factor over plans and models in percent, each of them, and the requests simulated."""
        found = [load_factors(*one, experiment) for one in self.of(subset, planner)]
        values = [value for one in found for value in one.values]
        return 100 * float(np.mean(values)), values, sum(one.requests for one in found)


def experiment_figures(reference: Reference) -> None:
    """Mean load factors by planner, one processor's time for the lot, and how they move with the seed."""
    reference.mean("ablation", "ppipe", Experiment(seconds=1.0))
    start = time.process_time()
    simulated = 0
    for planner, published in PUBLISHED_FACTORS.items():
        mean, values, requests = reference.mean("maf19", planner, Experiment())
        simulated += requests
        print(
            f"maf19, {planner}: mean load factor {mean:.1f}% over {len(values)} sweeps   [published {published}]"
        )
    seconds = time.process_time() - start
    print(
        f"all of them: {seconds:.1f} s of processor time, {simulated:,} requests, {simulated / seconds:,.0f} a second"
        f"   [aim: under 30 s]"
    )
    for planner, published in PUBLISHED_FACTORS.items():
        means = [reference.mean("maf19", planner, Experiment(seed=seed))[0] for seed in range(1, 6)]
        print(
            f"maf19, {planner}, five other seeds: {min(means):.1f} to {max(means):.1f}%   [published {published}]"
        )


def flaw_figures(reference: Reference) -> None:
    """The ablation: reservation and reactive, with each flaw of the published simulator and with all."""
    for flaws in (
        Flaws(),
        Flaws(whole_gaps=True),
        Flaws(larger_hosts=True),
        Flaws(consecutive_workers=True),
        Flaws(larger_hosts=True, consecutive_workers=True, whole_gaps=True),
    ):
        on = [name for name, value in vars(flaws).items() if value]
        for policy, published in ABLATION.items():
            experiment = Experiment(policy=policy, flaws=flaws)
            mean, values, _ = reference.mean("ablation", "ppipe", experiment)
            print(
                f"ablation, {policy}, flaws {', '.join(on) or 'none'}: {mean:.1f}% "
                f"[published, all flaws: {published}]   by model {' '.join(f'{value:g}' for value in values)}"
            )
        if on:
            means = [
                f"{p} {reference.mean('maf19', p, Experiment(flaws=flaws))[0]:.1f}" for p in PUBLISHED_FACTORS
            ]
            print(f"maf19, reservation, flaws {', '.join(on)}: {', '.join(means)}")


def main() -> None:
    start = time.perf_counter()
    simulate(two_stages(), Arrivals(np.zeros(1, np.int64), np.zeros(1, np.int64)), model_names=["m"], seed=0)
    print(f"first call (compile, or load the cache): {time.perf_counter() - start:.1f} s")
    flat_memory()
    published_speed()
    full_speed()
    artifact = Path(sys.argv[1]) if len(sys.argv) > 1 else ARTIFACT
    if not artifact.is_dir():
        print(f"{artifact}: no reference data, the published experiment is left out.")
        return
    reference = Reference(artifact)
    experiment_figures(reference)
    flaw_figures(reference)


if __name__ == "__main__":
    main()
