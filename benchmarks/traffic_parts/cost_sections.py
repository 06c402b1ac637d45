"""Sections about time: events a second, fine-tuning to the next hour, and a GPU against one core."""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import torch

from penstock.traffic.generator.learned import Request
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.published.published_method import PublishedModel
from penstock.traffic.published.published_network import draw_published
from penstock.traffic.truth import simulate_truth
from traffic_parts.fidelity_sections import held_out_curve
from traffic_parts.traffic_bench import NEXT_HOUR, Bench, on_device

SPEED_STREAMS = 3500


@dataclass(frozen=True)
class SinglePrecision:
    """The published network drawn in single precision: faster, and its streams depend on the batch."""

    model: PublishedModel

    def draw(self, request: Request) -> Rows:
        return draw_published(self.model, request, torch.float32)


def speed(bench: Bench) -> dict[str, Any]:
    """Events a second: the kernel on one and all cores, the published network in the same run, in either precision."""
    gru, published = bench.model("gru"), on_device(bench.model("published"), "cpu")
    single = tuple(replace(part, model=SinglePrecision(part.model)) for part in published.parts)
    cores = os.cpu_count() or 1
    replace(gru, threads=1).sample(64, 1)  # compiles
    found: dict[str, Any] = {"cores": cores, "streams": SPEED_STREAMS}
    for name, generator, count in (
        ("kernel, one core", replace(gru, threads=1), SPEED_STREAMS),
        ("kernel, two cores", replace(gru, threads=2), SPEED_STREAMS),
        ("kernel, all cores", replace(gru, threads=cores), SPEED_STREAMS * max(1, cores // 2)),
        ("published", replace(published, threads=1), 512),
        ("published, single precision", replace(published, parts=single, threads=1), 512),
    ):
        found[name] = _rate(generator, count, repeats=1 if name == "published" else 3)
    fastest = max(found[name]["events_per_cpu_s"] for name in ("published", "published, single precision"))
    found["times published, a CPU second"] = found["kernel, one core"]["events_per_cpu_s"] / fastest
    return found


def speed_on_gpu(bench: Bench) -> dict[str, Any]:
    """Events a second on the GPU, beside the kernel on one core. The networks are those of other sections."""
    gru, published = bench.model("gru"), bench.model("published")
    replace(gru, threads=1).sample(64, 1)  # compiles
    return {
        "kernel, one core": _rate(replace(gru, device="cpu", threads=1), SPEED_STREAMS),
        "gru, GPU": _rate(replace(gru, device="cuda", batch=16_384), 32_768),
        "published, GPU": _rate(replace(published, device="cuda", batch=4096), 4096),
    }


def _rate(generator: Any, streams: int, repeats: int = 2) -> dict[str, float]:
    """The best of a few runs: other work on the machine only slows."""
    wall, cpu, events = float("inf"), float("inf"), 0
    for _ in range(repeats):
        begin, cpu_begin = time.perf_counter(), time.process_time()
        events = generator.sample(streams, 5).n_events
        wall, cpu = min(wall, time.perf_counter() - begin), min(cpu, time.process_time() - cpu_begin)
    return {"events": events, "events_per_s": events / wall, "events_per_cpu_s": events / cpu}


def fine_tuning(bench: Bench) -> dict[str, Any]:
    """The next hour: how much less training from the model of this hour reaches what training anew reaches."""
    start = bench.model("gru")
    streams = simulate_truth("lte", bench.options.streams, "phone", NEXT_HOUR, seed=1)
    budget = bench.options.budget / 4
    anew = bench.fit("gru", budget, streams, hour=NEXT_HOUR).parts[0].facts.training
    found: dict[str, Any] = {"anew": {"seconds": anew.kept.seconds, "nats": anew.kept.nats}, "tuned": []}
    for times in (20.0, 10.0, 7.5, 5.0, 3.0):
        tuned = bench.fit("gru", budget / times, streams, hour=NEXT_HOUR, start_from=start)
        training = tuned.parts[-1].facts.training
        row = {"seconds": training.seconds, "nats": training.kept.nats}
        found["tuned"].append(row)
        if row["nats"] <= found["anew"]["nats"]:
            found["times_less"] = anew.kept.seconds / training.seconds
            break
    return found


def reach(bench: Bench) -> dict[str, Any]:
    """On a GPU: the seconds to the held-out likelihood that one CPU core reaches in the same budget."""
    if bench.options.device != "cuda":
        return {"void": "needs --device cuda"}
    torch.set_num_threads(1)
    gpu = held_out_curve(bench.model("gru"))
    cpu_bench = replace_device(bench, "cpu")
    cpu = cpu_bench.fit("gru", bench.options.budget).parts[0].facts.training
    wanted = cpu.kept.nats
    seconds = next((at for at, nats in gpu if nats <= wanted), None)
    return {
        "cpu": {"seconds": cpu.seconds, "steps": cpu.steps, "nats": wanted},
        "gpu_seconds": seconds,
        "gpu_curve": gpu,
    }


def replace_device(bench: Bench, device: str) -> Bench:
    """The same streams, another device."""
    made = Bench.__new__(Bench)
    made.__dict__.update(bench.__dict__)
    made.options = argparse.Namespace(**{**vars(bench.options), "device": device})
    return made
