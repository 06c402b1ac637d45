"""Measure a model block by block on this machine, on its CPU or a GPU: the tables of one device class.

Medians and 99th percentiles over the runs of all copies, on a steady clock, after warm-up; the whole model
is measured beside its blocks, and the blocks are scaled to it (:func:`penstock.profile.measuring.timing.block_table`).
"""

from __future__ import annotations

import os
import platform
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penstock.device.cuda_order import number_as_the_driver_does
from penstock.errors import BadInputError, PenstockError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.profile.links import Link
from penstock.profile.machine_here import machine_at_hand
from penstock.profile.measured_machine import WorkerCosts
from penstock.profile.measuring.adaptive import full_table, time_adaptively
from penstock.profile.measuring.copies import Copies, OpenCopies
from penstock.profile.measuring.inputs import NO_SAMPLES
from penstock.profile.measuring.link_times import measure_links
from penstock.profile.measuring.partial import Keeper, NoKeeper
from penstock.profile.measuring.pieces import prepare_pieces
from penstock.profile.measuring.session import import_onnxruntime
from penstock.profile.measuring.steady_clocks import ClocksSeen, ClockWatch
from penstock.profile.measuring.timing import (
    DEFAULT_EFFORT,
    Effort,
    Piece,
    Progress,
    block_table,
    time_pieces,
)
from penstock.profile.measuring.worker_start import Meter, NvmlMeter, measure_worker_costs
from penstock.profile.table import BlockMemory, LatencyTable, Provenance
from penstock.runtime.settings import RuntimeSettings, captured_batches
from penstock.runtime.torch_device import describe_torch


@dataclass(frozen=True)
class Measurement:
    """Tables by share, the whole model's batch-1 latency on a whole device if measured, and the origin.

    ``worker_costs``: what else a worker takes, if that was measured. ``block_memory``: the bytes that each block
    took on the device at its largest batch, if the device tells. ``is_timed_out``: with more time, larger batches
    would have been measured. ``links``: copies to and from the device, and to others beside it, if they were measured.
    """

    tables: Mapping[int, LatencyTable]
    whole_us: int | None
    provenance: Provenance
    worker_costs: WorkerCosts | None = None
    block_memory: tuple[BlockMemory, ...] = ()
    is_timed_out: bool = False
    links: tuple[Link, ...] = ()


_FORGETFUL = NoKeeper()

COSTS_S = 15.0
"""Of a budget: what starting three more processes on a GPU takes, to measure a worker's costs and copies."""


def measure(
    model: OnnxModel,
    boundaries: Sequence[int],
    *,
    max_batch: int = 4,
    shares: Sequence[int] = (1,),
    settings: RuntimeSettings | None = None,
    threads: int = 1,
    effort: Effort = DEFAULT_EFFORT,
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
    keeper: Keeper = _FORGETFUL,
    samples: Mapping[str, NDArray[Any]] = NO_SAMPLES,
) -> Measurement:
    """Time blocks ``[boundaries[k], boundaries[k + 1])`` at batches 1 to ``max_batch`` on each of ``shares``.

    Share n runs n processes at once, ``threads`` threads each, under ``settings`` (onnxruntime on the CPU unless
    given). ``samples``: inputs to use in place of random ones. A model of a fixed batch is measured at batch 1 only.
    On a GPU the time of ``effort`` includes that of making the inputs. ``keeper``: what an earlier run has
    measured. Raises :class:`MissingExtraError` without the runtime, :class:`BadInputError` for settings out of range
    or a model that cannot run at a batch.
    """
    began = time.perf_counter()
    import_onnxruntime()
    _check(max_batch, shares, threads)
    chosen = replace(settings or RuntimeSettings(), threads=threads)
    on_gpu = chosen.device != "cpu"
    if on_gpu:
        number_as_the_driver_does()  # in the processes that measure
    if not model.graph.is_batched:
        max_batch = 1
    batches = captured_batches(max_batch) if on_gpu else tuple(range(1, max_batch + 1))
    with tempfile.TemporaryDirectory(prefix="penstock-profile-") as folder:
        if on_gpu and chosen.kind == "onnxruntime" and chosen.cache is None:
            # The processes of a share, and those after them, build an engine once.
            chosen = replace(chosen, cache=str(Path(folder) / "engines"))
        # The activations of large batches are made on the CPU, by all of its cores if a GPU is to be measured.
        makers = (os.cpu_count() or 1) if on_gpu else 1
        pieces = prepare_pieces(
            model, boundaries, batches, Path(folder), seed, makers, samples, on_demand=on_gpu
        )
        left_s = effort.seconds - (time.perf_counter() - began)
        # A worker's costs and the copies are measured last, and belong to the same budget.
        left = replace(effort, seconds=max(left_s - min(COSTS_S, left_s / 4), 1e-3))
        return measure_pieces(
            pieces,
            batches,
            shares=shares,
            settings=chosen,
            effort=left if on_gpu else effort,
            seed=seed,
            progress=progress,
            with_costs=True,
            keeper=keeper,
        )


def measure_pieces(
    pieces: Sequence[Piece],
    batches: Sequence[int],
    *,
    shares: Sequence[int],
    settings: RuntimeSettings,
    effort: Effort = DEFAULT_EFFORT,
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
    open_copies: OpenCopies = Copies,
    with_costs: bool = False,
    keeper: Keeper = _FORGETFUL,
    meter: Meter | None = None,
) -> Measurement:
    """What :func:`measure` does once the pieces are on disk, with an input for each of ``batches``.

    ``with_costs`` measures what a worker costs besides on a GPU, and copies: three more processes, some ten seconds.
    ``meter``: the driver's view of the GPU (NVML's unless given).
    """
    costs: WorkerCosts | None = None
    tables: dict[int, LatencyTable] = {}
    factors: list[float] = []
    notes: list[str] = []
    is_timed_out = False
    memory: tuple[BlockMemory, ...] = ()
    links: tuple[Link, ...] = ()
    seen: ClocksSeen | None = None
    executor = ""
    meter = meter or NvmlMeter(settings)
    if settings.device == "cpu":
        timings = time_pieces(
            pieces,
            shares,
            threads=settings.threads,
            settings=settings,
            effort=effort,
            progress=progress,
            open_copies=open_copies,
            keeper=keeper,
        )
        for share, timing in timings.items():
            tables[share], by_batch = block_table(timing)
            factors += by_batch.tolist()
        whole_us = max(1, round(float(timings[1].median_us[-1, 0]))) if 1 in timings else None
    else:
        with ClockWatch(meter) as watch:
            adaptive = time_adaptively(
                pieces,
                batches,
                shares,
                settings=settings,
                effort=effort,
                progress=progress,
                open_copies=open_copies,
                keeper=keeper,
            )
        seen = watch.seen
        for share, one in adaptive.items():
            executor = one.executor
            tables[share], by_batch = full_table(one)
            factors += by_batch.tolist()
            notes.append(f"share {share}: batches {', '.join(map(str, one.batches))}; {one.ended}")
            if not one.is_steady:
                notes.append(f"share {share}: times were still changing after the warm-up")
        is_timed_out = any(one.is_timed_out for one in adaptive.values())
        # The table has what a worker takes: the copies from and to the host are part of it.
        whole_us = int(tables[1].latency_us[:, 0].sum()) if 1 in tables else None
        used = adaptive[min(adaptive)].memory_bytes[:-1].tolist()
        memory = tuple(BlockMemory(*one) for one in used) if any(map(any, used)) else ()
        if with_costs:
            largest = len(adaptive[min(adaptive)].batches) - 1
            costs = measure_worker_costs(pieces, largest, settings, Copies, meter)
            try:
                links = measure_links(settings.device)
            except PenstockError as error:
                notes.append(f"no links: {error}".rstrip("."))
    machine = machine_at_hand(settings)
    machine = machine if seen is None else seen.put_into(machine)
    machine = replace(machine, executor=executor or machine.executor)
    note = (
        f"{settings.threads} thread(s) a worker; blocks times {min(factors):.3f}-{max(factors):.3f} "
        f"so that they sum to the whole model"
    )
    return Measurement(
        tables=tables,
        whole_us=whole_us,
        provenance=Provenance(
            kind="measured",
            device=machine.device_name,
            software=software(settings),
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=seed,
            note=". ".join([note, *notes]),
            machine=machine,
        ),
        worker_costs=costs,
        block_memory=memory,
        is_timed_out=is_timed_out,
        links=links,
    )


def software(settings: RuntimeSettings) -> str:
    """The runtime and its version, and Python's."""
    if settings.kind == "torch":
        return f"{describe_torch(settings)}, Python {platform.python_version()}"
    return f"onnxruntime {import_onnxruntime().__version__}, Python {platform.python_version()}"


def _check(max_batch: int, shares: Sequence[int], threads: int) -> None:
    if max_batch < 1 or threads < 1:
        raise BadInputError(f"max_batch (={max_batch}) and threads (={threads}) must be >= 1. Raise them.")
    if not shares or min(shares) < 1 or len(set(shares)) != len(shares):
        raise BadInputError(f"shares (={list(shares)}) must be different whole numbers >= 1, such as 1,2.")
