"""The published GV100 rows and T4 sending times, predicted."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from device_parts.public_trace import public_trace
from device_parts.rows import Table
from penstock.schedule.device import Need
from penstock.simulate.device.blocks import run_streams
from penstock.simulate.device.device_record import DeviceRecord
from penstock.simulate.device.gpus import GPUS
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.kernel_profiles import Kernel
from penstock.simulate.device.mixes import JobArrivals, SharedModel, eight_models
from penstock.simulate.device.setups import Setup

LAST_ARRIVAL_US = 2_815_111.504
COUNTS = [744, 195, 152, 31, 873, 509, 240, 256]
FITTED_GAPS_US = (1000.0, 2000.0)
"""The highest load published, and half of it."""
PAELLA_WINDOW = 24
PIECE_US = 250.0
"""Paella may stop a model after any kernel; pieces of this size stand for that."""


@dataclass(frozen=True)
class Published:
    """One row: mean gap, duration, mean, p99, and the mean of each model if there."""

    gap_us: float
    span_us: float
    mean_us: float
    p99_us: float
    model_means_us: list[float]


def read_rows(path: Path) -> list[Published]:
    with path.open(newline="") as file:
        rows = [[float(figure) for figure in row] for row in csv.reader(file)]
    return sorted((Published(r[0], r[2], r[3], r[7], r[10::7][:8]) for r in rows), key=lambda one: one.gap_us)


def run_published(folder: Path) -> list[str]:
    trace = public_trace(1000.0)
    paella = read_rows(folder / "gv100-paella-lns2.csv")
    xsched = read_rows(folder / "gv100-xsched-lns2.csv")
    # Both programs ran the same jobs on the same device; on an idle one they differ by what Paella's notices cost.
    counts = np.bincount(trace.model)
    notice_us = paella[-1].mean_us - xsched[-1].mean_us
    with_notices = [
        replace(m, segment_us=(us,)) for m, us in zip(eight_models(), paella[-1].model_means_us, strict=True)
    ]
    alone = [replace(m, segment_us=(m.own_us - notice_us,)) for m in with_notices]
    failed = _trace(trace, counts)
    failed += _serial(trace, alone, read_rows(folder / "gv100-direct-lns2.csv"))
    a, more = _xsched(trace, alone, xsched)
    failed += more
    # Paella's notices take time but not the device: the same interference in jobs that are longer by them.
    rescaled = a * xsched[-1].mean_us / paella[-1].mean_us
    failed += _paella(trace, with_notices, paella, rescaled)
    return failed + _queues(folder / "queue-sending-times-t4.csv")


def _trace(trace: JobArrivals, counts: np.ndarray) -> list[str]:
    table = Table("The public trace, reproduced")
    last_us = float(trace.arrival_us[-1])
    table.claim(
        "last of 3,000 arrivals at",
        f"{last_us:,.3f} us",
        f"{LAST_ARRIVAL_US:,.3f} us",
        abs(last_us - LAST_ARRIVAL_US) < 1e-3,
    )
    table.claim("jobs by model", str(counts.tolist()), str(COUNTS), counts.tolist() == COUNTS)
    return table.failed


def _at(trace: JobArrivals, gap_us: float) -> JobArrivals:
    return replace(trace, arrival_us=trace.arrival_us * (gap_us / 1000.0))


def _serial(trace: JobArrivals, models: list[SharedModel], rows: list[Published]) -> list[str]:
    """ "Many streams" as published: its clock stops when a job starts, and jobs run one after another."""
    table = Table('"Many streams" (GV100) as a serial FIFO queue, nothing fitted; from 386/s up')
    worst = {"rate": 0.0, "mean": 0.0, "p99": 0.0}
    for row in rows:
        record = Setup("fifo", cut=False).run(models, _at(trace, row.gap_us), Interference(1.0))
        waits = np.sort(record.parts[0])
        published_rps = len(waits) * 1e6 / row.span_us
        errors = {
            "rate": record.rate_rps() / published_rps - 1,
            "mean": waits.mean() / row.mean_us - 1,
            "p99": waits[2970] / row.p99_us - 1,
        }
        if published_rps < 386:
            continue
        worst = {name: max(worst[name], abs(error)) for name, error in errors.items()}
        table.show(
            f"{published_rps:5.0f}/s: mean {waits.mean() / 1e3:7.1f} ms against {row.mean_us / 1e3:7.1f} "
            f"({errors['mean']:+.1%}), p99 {waits[2970] / 1e3:7.1f} against {row.p99_us / 1e3:7.1f} "
            f"({errors['p99']:+.1%})"
        )
    for name, limit in (("rate", 0.02), ("mean", 0.1), ("p99", 0.1)):
        table.claim(
            f"largest error of the {name}", f"{worst[name]:.1%}", f"<= {limit:.0%}", worst[name] <= limit
        )
    return table.failed


def _xsched(trace: JobArrivals, models: list[SharedModel], rows: list[Published]) -> tuple[float, list[str]]:
    table = Table("XSched's row (GV100): 8 jobs at once in order of arrival, a fitted at two loads")
    setup = Setup("fifo", window=8, cut=False)

    def run(a: float, row: Published) -> DeviceRecord:
        return setup.run(models, _at(trace, row.gap_us), Interference(a))

    def misfit(a: float) -> float:
        return sum(np.log(run(a, r).mean_us() / r.mean_us) ** 2 for r in rows if r.gap_us in FITTED_GAPS_US)

    a = _least(misfit, 0.1, 0.5)
    table.show(f"a = {a:.3f}, fitted to the means at gaps of {FITTED_GAPS_US} us")
    others = [row for row in rows if row.gap_us not in FITTED_GAPS_US]
    _compare(table, [(row, run(a, row)) for row in others], 0.12, 0.2)
    return a, table.failed


def _paella(trace: JobArrivals, models: list[SharedModel], rows: list[Published], a: float) -> list[str]:
    table = Table(
        f"Paella's row (GV100): SRPT, window {PAELLA_WINDOW}, the same interference (a = {a:.3f} in its times)"
    )
    setup = Setup("srpt", window=PAELLA_WINDOW)
    cut = [
        replace(m, segment_us=(m.own_us / n,) * n)
        for m in models
        if (n := max(1, round(m.own_us / PIECE_US)))
    ]
    runs = [(row, setup.run(cut, _at(trace, row.gap_us), Interference(a))) for row in rows]
    _compare(table, runs, 0.12, 0.25)
    names = [model.name for model in models]
    errors = np.array([[run.mean_us(k) / row.model_means_us[k] - 1 for k in range(8)] for row, run in runs])
    table.show("per-model means, error in %: " + " ".join(names))
    for (row, _), of_row in zip(runs, errors, strict=True):
        table.show(f"gap {row.gap_us:6.0f} us: " + " ".join(f"{error:+6.1%}" for error in of_row))
    average = float(np.mean(np.abs(errors)))
    table.claim("per-model means, average error", f"{average:.1%}", "<= 15%", average <= 0.15)
    return table.failed


def _compare(
    table: Table, runs: list[tuple[Published, DeviceRecord]], mean_limit: float, p99_limit: float
) -> None:
    mean_worst = p99_worst = 0.0
    for row, record in runs:
        mean_us, p99_us = record.mean_us(), record.percentile_us(99)
        mean_error, p99_error = mean_us / row.mean_us - 1, p99_us / row.p99_us - 1
        mean_worst, p99_worst = max(mean_worst, abs(mean_error)), max(p99_worst, abs(p99_error))
        table.show(
            f"gap {row.gap_us:6.0f} us: mean {mean_us / 1e3:6.2f} ms against {row.mean_us / 1e3:6.2f} "
            f"({mean_error:+.1%}), p99 {p99_us / 1e3:6.1f} against {row.p99_us / 1e3:6.1f} ({p99_error:+.1%})"
        )
    table.claim(
        "largest error of the mean", f"{mean_worst:.1%}", f"<= {mean_limit:.0%}", mean_worst <= mean_limit
    )
    table.claim("largest error of the p99", f"{p99_worst:.1%}", f"<= {p99_limit:.0%}", p99_worst <= p99_limit)


def _queues(path: Path) -> list[str]:
    """10,000 jobs of 8 one-block kernels, each job on its own stream: how long it takes to *send* them."""
    table = Table("Queue demonstration (T4): seconds to send, kernel time and start fitted")
    with path.open(newline="") as file:
        rows = [(int(q), float(rate), float(s)) for q, rate, s in list(csv.reader(file))[1:]]

    def sending_s(kernel_us: float, start_s: float, queues: int, rate_rps: float) -> float:
        jobs = [[Kernel(1, kernel_us, Need(1, 128))] * 8] * 10_000
        run = run_streams(GPUS["T4"], jobs, queues=queues, pause_us=1e6 / rate_rps, begin_us=start_s * 1e6)
        return run.sending_us / 1e6

    # One queue is a chain of 7 kernels a job (the eighth overlaps the next job's first), so its time is a line
    # in the kernel's: one point gives the kernel time for any start. Then the start that fits four points best.
    (one_s,) = (s for q, _, s in rows if q == 1)
    a_kernel_s = (sending_s(1000.0, 0.0, 1, 1e9) - sending_s(500.0, 0.0, 1, 1e9)) / 500.0

    def kernel_for(start_s: float) -> float:
        return (one_s - start_s) / a_kernel_s

    points = [row for row in rows if row[:2] in ((8, 1000.0), (8, 2000.0), (32, 9000.0), (4, 10000.0))]

    def worst_at(start_s: float) -> float:
        return max(abs(sending_s(kernel_for(start_s), start_s, q, rate) / s - 1) for q, rate, s in points)

    start_s = _least(worst_at, 0.0, 1.0, steps=8)
    kernel_us = kernel_for(start_s)
    table.show(f"kernel {kernel_us:.0f} us, start {start_s:.2f} s, launch {GPUS['T4'].launch_us} us (given)")
    worst = 0.0
    for queues, rate_rps, published_s in rows:
        predicted_s = sending_s(kernel_us, start_s, queues, rate_rps)
        worst = max(worst, abs(predicted_s / published_s - 1))
        table.show(
            f"{queues:2d} queues, {rate_rps:6.0f}/s: {predicted_s:5.1f} s against {published_s:4.1f} "
            f"({predicted_s / published_s - 1:+.1%})"
        )
    table.claim("largest error of 22 sending times", f"{worst:.1%}", "<= 15%", worst <= 0.15)
    return table.failed


def _least(value: Callable[[float], float], low: float, high: float, steps: int = 20) -> float:
    """The minimum of a function with one valley, by golden sections."""
    ratio = (5**0.5 - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = value(left), value(right)
    for _ in range(steps):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = value(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = value(right)
    return (low + high) / 2
