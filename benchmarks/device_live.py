"""One device, two models, live: ResNet-18 and InceptionV3 of the zoo on onnxruntime behind the CPU dispatcher.

The same arrivals (lognormal gaps, 80% of what job-by-job can carry) are served by our dispatcher, job by job, and
direct (every job on a thread of its own). Short means are compared, the long model's price is printed, and the
simulator runs the same arrivals at each run's own pace. The default clock is the CPU time of a process with idle time
skipped; the runs of a row take place at once on one core, so that a busy machine can be used. On a quiet machine take
``--clock wall``, and ``--threads 2`` on two cores.

A run of 3,000 jobs takes about 3,000 x 40 ms of CPU time; there are three for each of the four rows. Ends with
status 1 if a claim does not hold.

    OMP_NUM_THREADS=1 python benchmarks/device_live.py [--jobs 3000] [--clock cpu|wall] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from device_live_parts.live_models import LiveModel, prepare_models
from device_live_parts.live_run import SETUPS, LiveRun, run_together
from device_live_parts.work_clock import CLOCKS
from penstock.simulate.device.mixes import JobArrivals, SharedModel, draw_jobs, equal_work, mean_own_us

LOAD = 0.8
RIVALS = ("job-by-job", "direct-ms")
MIXES = {"equal work": 3.0, ".952/.048": 1.8}
"""By mix, how many times lower the short model's mean must be."""
SIMULATED_WITHIN = 0.20
SATURATION = 0.97


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--jobs", type=int, default=3000)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--sigma", type=float, action="append", help="of the gaps; 1.5 and 2 if not given")
    arguments.add_argument("--mix", choices=list(MIXES), action="append", help="all if not given")
    arguments.add_argument("--setup", choices=list(SETUPS), action="append", help="ours is always run")
    arguments.add_argument("--clock", choices=list(CLOCKS), default="cpu")
    arguments.add_argument("--threads", type=int, default=1, help="worker threads of ours and of job-by-job")
    arguments.add_argument("--image-size", type=int, help="smaller images, to see that it runs")
    arguments.add_argument("--seconds", type=float, default=20.0, help="to measure what each cut costs")
    arguments.add_argument("--json", type=Path, help="write all figures here")
    given = arguments.parse_args()
    if given.clock == "cpu" and given.threads != 1:
        arguments.error("--threads: the CPU clock is that of one core; take --clock wall for more threads")
    print(f"load average {_load()}; clock: {CLOCKS[given.clock].name}; {given.threads} worker thread(s)")
    rows: list[dict[str, Any]] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        models = prepare_models(Path(folder), given.image_size, given.seconds)
        times = ", ".join(f"{m.name} {m.whole_us / 1e3:.1f} ms in {len(m.segment_us)}" for m in models)
        print(f"  {times} segments")
        for mix in given.mix or MIXES:
            for sigma in given.sigma or (1.5, 2.0):
                _row(mix, sigma, models, given, rows, failed)
    if given.json is not None:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")
    print(f"\n{len(failed)} claims do not hold" + "".join(f"\n  {one}" for one in failed))
    sys.exit(bool(failed))


def _row(
    mix: str,
    sigma: float,
    models: Sequence[LiveModel],
    given: argparse.Namespace,
    rows: list[dict[str, Any]],
    failed: list[str],
) -> None:
    arrivals = _arrivals(mix, sigma, models, given)
    print(f"\n{mix}, sigma {sigma}: {given.jobs} jobs at {LOAD:.0%} of job-by-job, seed {given.seed}")
    print(
        f"  {'':14}{'short mean':>12}{'simulated':>12}{'long mean':>12}{'simulated':>12}{'p99':>12}"
        f"{'CPU s':>8}{'wall s':>8}{'load':>7}   (latencies in ms)"
    )
    names = list(dict.fromkeys(("ours", *(given.setup or RIVALS))))
    runs = run_together(names, models, arrivals, given.clock, given.threads)
    for name, run in runs.items():
        simulated = run.simulated(arrivals, given.threads)
        print(
            f"  {name:14}{run.mean_us[0] / 1e3:12.1f}{simulated[0] / 1e3:12.1f}{run.mean_us[1] / 1e3:12.1f}"
            f"{simulated[1] / 1e3:12.1f}{run.p99_us / 1e3:12.1f}{run.cpu_us / 1e6:8.1f}{run.wall_s:8.0f}"
            f"{os.getloadavg()[0]:7.1f}"
        )
        figures = {name: value for name, value in asdict(run).items() if name != "paced"}
        rows.append({"mix": mix, "sigma": sigma, **figures, "simulated_us": simulated, "load": _load()})
        for kind, model in enumerate(models):
            off = simulated[kind] / run.mean_us[kind] - 1
            what = f"{mix}, sigma {sigma}, {name}: simulated mean of {model.name} is {off:+.0%} off"
            _claim(failed, what, f"within {SIMULATED_WITHIN:.0%}", abs(off) <= SIMULATED_WITHIN)
    ours = runs.pop("ours")
    for name, run in runs.items():
        if name not in RIVALS:
            continue
        gain, price = run.mean_us[0] / ours.mean_us[0], ours.mean_us[1] / run.mean_us[1]
        what = f"{mix}, sigma {sigma}: short model's mean, {name} / ours: {gain:.2f}"
        _claim(failed, what, f">= {MIXES[mix]}", gain >= MIXES[mix])
        print(f"     price: the long model's mean is {price:.2f} x {name}'s")
    if "job-by-job" in runs:
        share = _saturation(models, arrivals, ours, runs["job-by-job"])
        what = f"{mix}, sigma {sigma}: saturation / job-by-job's: {share:.3f}"
        _claim(failed, what, f">= {SATURATION}", share >= SATURATION)


def _saturation(models: Sequence[LiveModel], arrivals: JobArrivals, ours: LiveRun, whole: LiveRun) -> float:
    """Jobs per CPU second, ours over job-by-job's: what a cut costs as measured in turn, and each run's own time.

    Not the runs' CPU times, which on a shared machine differ by their moments more than by what they do.
    """
    own_us = np.array([model.whole_us for model in models])[arrivals.model].mean()
    cut_us = np.array([model.whole_us * (1 + model.cut_cost) for model in models])[arrivals.model].mean()
    return float((own_us + whole.own_us) / (cut_us + ours.own_us))


def _arrivals(mix: str, sigma: float, models: Sequence[LiveModel], given: argparse.Namespace) -> JobArrivals:
    shared = [
        SharedModel(m.name, (m.whole_us,), share) for m, share in zip(models, (0.952, 0.048), strict=True)
    ]
    if mix == "equal work":
        shared = equal_work(shared)
    rate_rps = LOAD * given.threads * 1e6 / mean_own_us(shared)
    return draw_jobs(shared, rate_rps, given.jobs, np.random.default_rng(given.seed), sigma=sigma)


def _claim(failed: list[str], what: str, rule: str, holds: bool) -> None:
    print(f"  {'ok' if holds else 'NO'} {what} ({rule})")
    if not holds:
        failed.append(what)


def _load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


if __name__ == "__main__":
    main()
