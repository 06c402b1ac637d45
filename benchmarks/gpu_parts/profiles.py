"""Two models profiled by block, batch and share in each precision; and what the roofline says beside it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace

import numpy as np

from gpu_parts.common import Json, Run, table, torch_settings
from penstock.errors import InfeasibleError
from penstock.graph.cuts import boundary_bytes
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.partition.prepartition import prepartition
from penstock.profile.build import build_profile
from penstock.profile.measuring.copies import Copies
from penstock.profile.measuring.measure import Measurement, measure, measure_pieces
from penstock.profile.measuring.pieces import prepare_pieces
from penstock.profile.measuring.timing import Effort
from penstock.profile.prediction.device_catalogue import CATALOGUE, CPU_CORE, DeviceSpec
from penstock.profile.prediction.predict import predict, predict_operators
from penstock.profile.store import save_profile

SLOW_WORKERS = 2


class KeptCopies:
    """Processes that are kept from one measurement to the next: starting CUDA takes seconds."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._open: dict[int, Copies] = {}

    @contextmanager
    def open(self, share: int, threads: int) -> Iterator[Copies]:
        """The processes of ``share``, left open at the end."""
        if share not in self._open:
            self._open[share] = self._stack.enter_context(Copies(share, threads))
        try:
            yield self._open[share]
        except BaseException:
            self._open.pop(share)  # its processes have ended
            raise

    def close(self) -> None:
        """End all processes."""
        self._stack.close()


def boundaries_of(model: OnnxModel, spec: DeviceSpec, blocks: int) -> tuple[int, ...]:
    costs = {spec.name: predict_operators(model.graph, spec)}
    for count in range(blocks, 1, -1):
        try:
            return tuple(prepartition(costs, boundary_bytes(model.graph), count).solution)
        except InfeasibleError:
            continue
    return (0, len(model.graph.operators))


def spec_of(device_class: str, precision: str) -> DeviceSpec | None:
    """The catalogue's peaks, with what the precision may use of them."""
    spec = CATALOGUE.get(device_class)
    if spec is None:
        return None
    if precision == "fp32":
        return replace(spec, tf32_tflops=None)
    return replace(spec, tf32_tflops=spec.fp16_tflops) if precision == "fp16" else spec


def run_profiles(run: Run, device_class: str) -> Json:
    """Measures and writes profiles; ``found['models'][name]`` has tables by precision and share."""
    kept = KeptCopies()
    found: Json = {"device_class": device_class, "models": {}}
    batches = (1, 2) if run.tiny else (1, 2, 8) if run.quick else (1, 2, 4, 8, 16, 32, 64)
    began = time.perf_counter()
    left = len(run.precisions) * len(run.measured_models)
    try:
        for name, image_size in run.measured_models:
            model = read_onnx(run.model_file(name, image_size))
            boundaries = boundaries_of(model, CATALOGUE.get(device_class, CPU_CORE), run.blocks)
            folder = run.work / f"pieces-{name}"
            folder.mkdir(exist_ok=True)
            threads = 1 if run.tiny else 12
            pieces = prepare_pieces(model, boundaries, batches, folder, 0, threads)
            one: Json = {"boundaries": list(boundaries), "batches": list(batches), "precisions": {}}
            found["models"][name] = one
            for precision in run.precisions:
                spent = time.perf_counter() - began
                if spent > run.profile_s and one["precisions"]:
                    one["precisions"][precision] = {"skipped": f"{spent:.0f} s spent on profiles"}
                    continue
                settings = torch_settings(run.device, precision)
                # What is left, less the seconds that processes and inputs take; a GPU rarely needs all of it.
                seconds = 0.2 if run.tiny else max(5.0, 0.7 * (run.profile_s - spent) / left)
                left -= 1
                measured = measure_pieces(
                    pieces,
                    batches,
                    shares=(1, 2) if precision == "fp32" else (1,),
                    settings=settings,
                    effort=Effort(seconds=seconds, min_runs=2 if run.tiny else 5, rounds=1),
                    open_copies=kept.open,
                )
                one["precisions"][precision] = _written(
                    run, model, boundaries, device_class, precision, measured
                )
            del pieces
    finally:
        kept.close()
    return found


def _written(
    run: Run,
    model: OnnxModel,
    boundaries: Sequence[int],
    device_class: str,
    precision: str,
    measured: Measurement,
) -> Json:
    profile = build_profile(model, boundaries, measured={device_class: measured}, predicted={})
    folder = f"{profile.model}-{precision}"
    save_profile(profile, run.work / "profiles" / folder)
    # For the catalogue: the model is the zoo's with seed 0, which its sha256 pins; no path of this machine.
    (run.out / "profiles").mkdir(exist_ok=True)
    save_profile(replace(profile, model_file=None), run.out / "profiles" / folder, force=True)
    spec = spec_of(device_class, precision)
    largest = measured.tables[min(measured.tables)].max_batch
    predicted = (
        None
        if spec is None
        else predict(model.graph, boundaries, [spec], largest, [1])[spec.name, 1].latency_us.tolist()
    )
    return {
        "shares": {str(share): one.computing_us.tolist() for share, one in measured.tables.items()},
        "worker_us": {
            str(share): one.latency_us.sum(axis=0).tolist() for share, one in measured.tables.items()
        },
        "predicted_us": predicted,
        "whole_us": measured.whole_us,
        "memory": [vars(one) for one in measured.block_memory],
        "note": measured.provenance.note,
        "software": measured.provenance.software,
        "machine": None if measured.provenance.machine is None else vars(measured.provenance.machine),
    }


def measure_slow(run: Run, model: OnnxModel, boundaries: Sequence[int], max_batch: int) -> Measurement:
    """The CPU as a device class: one core a worker, measured with as many at once as will serve."""
    workers = 1 if run.tiny else SLOW_WORKERS
    measured = measure(
        model,
        boundaries,
        max_batch=max_batch,
        shares=(workers,),
        effort=Effort(seconds=0.3 if run.tiny else 4.0),
    )
    tables = {1: measured.tables[workers]}
    whole_us = int(tables[1].span_us(0, len(boundaries) - 1)[0])
    return replace(measured, tables=tables, whole_us=whole_us)


def profile_tables(found: Json) -> str:
    """By block: measured at a few batches, and predicted against measured."""
    parts = []
    for name, one in found["models"].items():
        for precision, got in one["precisions"].items():
            if "shares" not in got:
                continue
            shown = [batch for batch in one["batches"] if batch <= len(got["shares"]["1"][0])]
            rows = []
            for block, times in enumerate(got["shares"]["1"]):
                row: list[object] = [block, *[times[batch - 1] for batch in shown]]
                if got["predicted_us"] is not None:
                    row += [
                        round(got["predicted_us"][block][b - 1] / times[b - 1], 2)
                        for b in (shown[0], shown[-1])
                    ]
                rows.append(row)
            total = np.array(got["shares"]["1"]).sum(axis=0)
            rows.append(["all", *[int(total[batch - 1]) for batch in shown]])
            rows.append(["with copies", *[got["worker_us"]["1"][batch - 1] for batch in shown]])
            heads = ["block", *[f"batch {batch}, us" for batch in shown]]
            if got["predicted_us"] is not None:
                heads += [f"predicted / measured, batch {b}" for b in (shown[0], shown[-1])]
            parts.append(table(f"{name}, {precision}, share 1", heads, rows))
            if "2" in got["shares"]:
                two = np.array(got["shares"]["2"]).sum(axis=0)
                sizes = [batch for batch in shown if batch <= len(two)]
                rows = [
                    [b, int(total[b - 1]), int(two[b - 1]), round(two[b - 1] / total[b - 1], 2)]
                    for b in sizes
                ]
                parts.append(
                    table(
                        f"{name}, {precision}: two workers at once",
                        ["batch", "alone, us", "two, us", "ratio"],
                        rows,
                    )
                )
    return "\n".join(parts)
