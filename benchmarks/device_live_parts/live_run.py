"""One live run: real segments on worker threads, arrivals on a clock; and the simulator at that run's pace."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier

import numpy as np

from device_live_parts.live_models import LiveModel
from device_live_parts.work_clock import CLOCKS
from penstock.schedule.device import DevicePolicy, JobType
from penstock.serve.scheduled.answers import Answer, Ending
from penstock.serve.scheduled.thread_driver import ThreadDriver
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import JobArrivals, SharedModel
from penstock.simulate.device.setups import Setup

PACES = 20
LOADING_S = 600.0
STREAMS = 32
"""direct-ms: so many threads, each with a whole job; as many as a GPU has hardware queues."""

SETUPS = {
    "ours": Setup("srpt"),
    "moore-hodgson": Setup("moore-hodgson", late="demote"),
    "job-by-job": Setup("fifo", cut=False),
    "direct-ms": Setup("fifo", window=STREAMS, cut=False),
}


@dataclass(frozen=True)
class LiveRun:
    """Mean latency of each model and of all jobs, in us of the clock; ``cpu_us``: the process's for the whole run;
    ``own_us``: the CPU time of a job that is not its segments'.

    ``paced``: the models as they ran, times per segment, with the dispatcher's own time in them: the short and the long
    one of the first twentieth of the jobs, then of the second, and so on, because a shared machine's pace drifts.
    """

    setup: str
    mean_us: tuple[float, ...]
    all_us: float
    p99_us: float
    cpu_us: float
    own_us: float
    paced: tuple[SharedModel, ...]
    wall_s: float

    def simulated(self, arrivals: JobArrivals, threads: int) -> tuple[float, ...]:
        """The simulator's mean latencies of each model on the same arrivals at this run's pace."""
        setup = SETUPS[self.setup]
        # The models are as they ran, so they are not made whole again.
        as_run = replace(setup, cut=True, window=max(threads, setup.window))
        jobs = len(arrivals.model)
        twentieth = np.arange(jobs) * PACES // jobs
        by_pace = JobArrivals(arrivals.arrival_us, twentieth * len(self.mean_us) + arrivals.model)
        record = as_run.run(list(self.paced), by_pace, Interference(0.0, lanes=threads))
        return tuple(
            float(record.latency_us[arrivals.model == model].mean()) for model in range(len(self.mean_us))
        )


def run_together(
    setup_names: Sequence[str],
    models: Sequence[LiveModel],
    arrivals: JobArrivals,
    clock_name: str,
    threads: int,
) -> dict[str, LiveRun]:
    """A run of each set-up. On the CPU clock all at once, each a process on the same core: what slows the core for one
    slows it for all at the same part of their runs. On the wall clock one after another.
    """
    at_once = len(setup_names) if clock_name == "cpu" else 1
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(at_once, mp_context=context) as pool:
        start = manager.Barrier(at_once)
        given = (tuple(models), arrivals, clock_name, threads, start)
        futures = {name: pool.submit(run_live, name, *given) for name in setup_names}
        return {name: future.result() for name, future in futures.items()}


def run_live(
    setup_name: str,
    models: Sequence[LiveModel],
    arrivals: JobArrivals,
    clock_name: str,
    threads: int,
    start: Barrier,
) -> LiveRun:
    """All jobs of ``arrivals`` to their ends, from when all parties of ``start`` have loaded their models."""
    setup = SETUPS[setup_name]
    width = max(threads, setup.window)
    with tempfile.TemporaryDirectory() as folder:
        opened = [model.open(Path(folder), cut=setup.cut) for model in models]
    runners = [runner for runner, _ in opened]
    inputs = [tensors for _, tensors in opened]
    start.wait(LOADING_S)
    times_us = [model.segment_us if setup.cut else (model.whole_us,) for model in models]
    slos_us = [round(5 * model.whole_us) for model in models]
    types = [
        JobType(model.name, len(us), copies=64, stage_us=us, slo_us=slo_us)
        for model, us, slo_us in zip(models, times_us, slos_us, strict=True)
    ]
    policy = DevicePolicy(setup.order, setup.late, width, types)
    answers: list[Answer] = []
    start_ns, start_s = time.process_time_ns(), time.monotonic()
    clock = CLOCKS[clock_name]()
    with ThreadDriver(policy, runners, threads=width, clock=clock) as driver:
        for moment, kind in zip(arrivals.arrival_us.tolist(), arrivals.model.tolist(), strict=True):
            clock.wait_until(round(moment), driver)
            driver.submit(kind, inputs[kind], answers.append, arrived_us=round(moment))
        driver.wait_until_idle(24 * 3600.0)
    cpu_us = (time.process_time_ns() - start_ns) / 1e3
    assert len(answers) == len(arrivals.model)
    assert all(answer.ending is Ending.DONE for answer in answers)
    wall_s = time.monotonic() - start_s
    return _summary(
        setup_name,
        models,
        times_us,
        answers,
        cpu_us,
        wall_s,
        by_wall=clock_name == "wall" and width <= threads,
    )


def _summary(
    setup_name: str,
    models: Sequence[LiveModel],
    times_us: Sequence[tuple[float, ...]],
    answers: Sequence[Answer],
    cpu_us: float,
    wall_s: float,
    *,
    by_wall: bool,
) -> LiveRun:
    kinds = np.array([answer.job_type for answer in answers])
    twentieth = np.array([answer.job for answer in answers]) * PACES // len(answers)
    latency_us = np.array([answer.ended_us - answer.arrived_us for answer in answers], np.float64)
    run_cpu_us = np.array([answer.cpu_us for answer in answers], np.float64)
    # On the wall clock a segment takes what it took by the wall: what others took of its core is part of the pace. Not
    # if there are more threads than cores: then the wall's time has the other threads' in it, which the simulator adds.
    run_us = np.array([answer.run_us for answer in answers], np.float64) if by_wall else run_cpu_us
    segments = sum(len(times_us[kind]) for kind in kinds.tolist())
    own_us = (cpu_us - run_cpu_us.sum()) / segments  # what the dispatcher takes for each segment
    paced = []
    for pace in range(PACES):
        for kind, model in enumerate(models):
            of_kind = run_us[kinds == kind]
            here = run_us[(kinds == kind) & (twentieth == pace)]
            scale = (here if len(here) else of_kind).mean() / sum(times_us[kind])
            times = tuple(us * scale + own_us for us in times_us[kind])
            paced.append(SharedModel(f"{model.name}, {pace}", times, slo_us=round(5 * model.whole_us)))
    return LiveRun(
        setup_name,
        tuple(float(latency_us[kinds == kind].mean()) for kind in range(len(models))),
        float(latency_us.mean()),
        float(np.quantile(latency_us, 0.99)),
        cpu_us,
        (cpu_us - float(run_cpu_us.sum())) / len(answers),
        tuple(paced),
        wall_s,
    )
