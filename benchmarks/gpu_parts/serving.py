"""A real server: what it adds to a bare loop, and a plan of two stages on a GPU and CPU cores.

Everything goes through the command line, as a user would; the plan of two stages is written by hand, since a
planner would leave a CPU out beside a GPU, and is checked as every plan is.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gpu_parts.client import ThinClient
from gpu_parts.common import Json, Run, penstock, quantiles, table
from gpu_parts.profiles import SLOW_WORKERS, measure_slow
from penstock.api.showing.summaries import summary_document
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.build import boundaries_of, build_profile
from penstock.profile.store import load_profile, save_profile
from penstock.profile.table import LatencyTable, Profile
from penstock.record import Record, load_record
from penstock.report.summary import summarise
from penstock.serve.local_server import LocalServer
from penstock.serve.spec import DISPATCH_US, default_transport
from penstock.simulate.judge.trial import WARM_UP_SHARE

GBPS = 100.0
PRECISION = "fp32"
LOAD = 0.8
PADDING = 1.5


def write_plan(
    folder: Path, profile: Profile, stages: list[Json], batch: int, slo_us: int, counts: Json
) -> Path:
    """A plan of one pipeline; ``stages`` have blocks, device_class and workers."""
    samples = [profile.boundary_bytes[s["blocks"][1]] * 8 / (GBPS * 1e9) * 1e6 for s in stages[:-1]] + [0.0]
    made: list[Json] = []
    placement: list[Json] = []
    for index, stage in enumerate(stages):
        start, stop = stage["blocks"]
        inference_us = int(profile.table(stage["device_class"], 1).span_us(start, stop)[batch - 1])
        rate = batch * 1e6 / inference_us
        for sample_us in (samples[index], samples[index - 1] if index else 0.0):
            rate = min(rate, 1e6 / sample_us) if sample_us else rate
        made.append(
            {
                **stage,
                "share": 1,
                "batch": batch,
                "inference_us": inference_us,
                "transfer_us": math.ceil(batch * samples[index] - 1e-6),
                "rate_rps": rate * stage["workers"],
            }
        )
        for slot in range(stage["workers"]):
            place = {
                "slot": slot,
                "device_class": stage["device_class"],
                "host": slot,
                "device": slot,
                "share": 1,
            }
            placement.append(
                {"worker": len(placement), "model": profile.model, "pipeline": 0, "stage": index, **place}
            )
    rate = min(stage["rate_rps"] for stage in made)
    document = {
        "version": 1,
        "planner": "by hand",
        "objective": rate,
        "bound": rate,
        "gap": 0.0,
        "status": "optimal",
        "stats": {},
        "scenario": {
            "version": 1,
            "cluster": {
                "bandwidth_gbps": GBPS,
                "device_classes": {name: {"count": count} for name, count in counts.items()},
            },
            "models": [
                {
                    "name": profile.model,
                    "profile": "profile",
                    "slo_us": slo_us,
                    "slo_margin": 0.0,
                    "estimated_rps": rate,
                }
            ],
            "planner": {"max_stages": len(stages)},
        },
        "shared_pools": False,
        "models": [
            {
                "name": profile.model,
                "rate_rps": rate,
                "slo_us": slo_us,
                "margin_us": 0,
                "estimated_rps": rate,
                "pipelines": [{"rate_rps": rate, "stages": made}],
            }
        ],
        "placement": placement,
    }
    path = folder / "plan.json"
    path.write_text(json.dumps(document, indent=1))
    return path


def load(url: str, model: str, rate: float, seconds: float, seed: int, record: Path | None = None) -> Json:
    """One model's figures under Poisson load; the record, if wanted, in the folder ``record``."""
    arguments = ["--model", model, "--rate", repr(rate), "--seconds", str(seconds), "--seed", str(seed)]
    arguments += [] if record is None else ["-o", str(record)]
    return penstock(["load", url, *arguments], timeout_s=seconds + 90)


def executor_arguments(run: Run, device_class: str) -> list[str]:
    arguments = ["--executor", f"{device_class}=torch", "--device", f"{device_class}={run.device}"]
    return arguments if run.tiny else [*arguments, "--precision", f"{device_class}={PRECISION}"]


def cut_to_one_batch(profile: Profile) -> Profile:
    """Batches of one only: a request then never waits for others."""
    tables = {key: LatencyTable(one.latency_us[:, :1]) for key, one in profile.tables.items()}
    return replace(profile, tables=tables)


PARTS = ("body and dispatcher", "to the worker", "inbox", "executor", "answer")
"""Of a request in the server: until the gateway ships it; until the worker has it; until it runs; the run with the
copies to the device and back; until the gateway has the result."""


def run_overhead(run: Run, device_class: str) -> Json:
    """One request at a time, against the bare loop of the executor section: what serving adds, part by part.

    ``closed``: the next request leaves when the answer is there. ``spaced``: 50 ms later, with the machine idle in
    between. ``load``: ``penstock load`` at 20/s, whose latency counts from the intended time of sending.
    """
    name, _ = run.models[0]
    profile = cut_to_one_batch(load_profile(run.work / "profiles" / f"{name}-{PRECISION}"))
    folder = run.work / "overhead"
    folder.mkdir(exist_ok=True)
    save_profile(profile, folder / "profile", force=True)
    stages = [{"blocks": [0, len(profile.blocks)], "device_class": device_class, "workers": 1}]
    # Batches of one: no policy then waits for a second request.
    plan = write_plan(folder, profile, stages, 1, 1_000_000, {device_class: 1})
    closed, spaced = (20, 10) if run.tiny else (300, 60)
    arguments = [*executor_arguments(run, device_class), "--record", str(folder / "record")]
    with LocalServer(plan, arguments, ready_s=90.0) as server:
        with ThinClient(server.url, name) as client:
            client.times_us(10)
            times = {"closed": client.times_us(closed), "spaced": client.times_us(spaced, 0.05)}
        figures = load(server.url, name, 20, 1.0 if run.tiny else 3.0, 1)
    parts = request_parts(load_record(folder / "record"))
    at, found = 10, {}
    for how, one in times.items():
        found[how] = stack(one, parts[at : at + len(one)])
        at += len(one)
    found["load"] = stack([_p50_us(figures)], parts[at:]) | {"lag_us": figures["client_lag_us"]}
    return {"served_p50_us": found["closed"]["p50_us"], "transport": default_transport(), "ways": found}


def request_parts(record: Record) -> NDArray[np.int64]:
    """Microseconds of each part of :data:`PARTS` for each request in order of arrival: shape (requests, parts).

    For plans of one stage and requests of one sample.
    """
    requests, batches = record.requests, record.batches
    row_of = {batch: row for row, batch in enumerate(batches.batch.tolist())}
    rows = np.array([row_of[batch] for batch in requests.batch.tolist()])
    queued_us = batches.queued_us[rows]
    shipped_us = queued_us - batches.transfer_us[rows]
    moments = [requests.arrival_us, shipped_us, queued_us, batches.start_us[rows], batches.end_us[rows]]
    return np.diff(np.stack([*moments, requests.finish_us], axis=1), axis=1)


def stack(times_us: list[float], parts: NDArray[np.int64]) -> Json:
    """Medians: of the whole as the client saw it, of each part, and what of the whole lies outside of the server."""
    inside_us = float(np.median(parts.sum(axis=1)))
    whole = quantiles(times_us)
    medians = {name: float(value) for name, value in zip(PARTS, np.median(parts, axis=0), strict=True)}
    return {**whole, "client and connection": round(whole["p50_us"] - inside_us, 1), **medians}


def overhead_table(found: Json) -> str:
    """The stack of a request, for each way of sending."""
    ways = found["ways"]
    names = ["p50_us", "client and connection", *PARTS]
    rows = [[how, *[one[name] for name in names]] for how, one in ways.items()]
    title = f"Serving one request at a time, tensors by {found['transport']}: medians in us"
    parts = [table(title, ["way", "p50", *names[1:]], rows)]
    bare = {key: found[key] for key in ("bare_p50_us", "bare_spaced_p50_us", "ours_p50_us") if key in found}
    if "bare_p50_us" in bare:
        closed_us, spaced_us = ways["closed"]["p50_us"], ways["spaced"]["p50_us"]
        rows = [["closed", closed_us, bare["bare_p50_us"], round(closed_us - bare["bare_p50_us"], 1)]]
        if "bare_spaced_p50_us" in bare:
            rows.append(
                [
                    "spaced",
                    spaced_us,
                    bare["bare_spaced_p50_us"],
                    round(spaced_us - bare["bare_spaced_p50_us"], 1),
                ]
            )
        parts.append(table("Over the bare loop", ["way", "served, us", "bare, us", "over, us"], rows))
    return "\n".join(parts)


def run_two_stages(run: Run, device_class: str) -> Json:
    """The first blocks on the device, the last ones on CPU cores; predicted, simulated and measured at 0.8.

    The CPU's part holds :data:`PADDING` of what it took when it was measured alone (``padded``): beside a server and
    its client the cores of one machine are slower than that, which no server could mend.
    """
    name, image_size = run.models[0]
    model = read_onnx(run.model_file(name, image_size))
    fast = load_profile(run.work / "profiles" / f"{name}-{PRECISION}")
    batch = min(2, fast.table(device_class, 1).max_batch)
    boundaries = boundaries_of(fast, len(model.graph.operators))
    slow = measure_slow(run, model, boundaries, batch)
    both = build_profile(model, boundaries, measured={"slow": slow}, predicted={})
    of_slow = both.table("slow", 1)
    padded = replace(
        of_slow,
        latency_us=np.ceil(of_slow.latency_us * PADDING).astype(np.int64),
        p99_us=None if of_slow.p99_us is None else np.ceil(of_slow.p99_us * PADDING).astype(np.int64),
    )
    tables = {("fast", 1): fast.table(device_class, 1), ("slow", 1): padded}
    profile = replace(
        both,
        tables=tables,
        class_provenance={"fast": fast.provenance},
        provenance=slow.provenance,
        worker_costs={},
    )
    folder = run.work / "two-stages"
    folder.mkdir(exist_ok=True)
    save_profile(profile, folder / "profile", force=True)
    workers = 1 if run.tiny else SLOW_WORKERS
    last = len(profile.blocks)
    stages: list[Json] = [
        {"blocks": [0, last - 1], "device_class": "fast", "workers": 1},
        {"blocks": [last - 1, last], "device_class": "slow", "workers": workers},
    ]
    alone_us = sum(int(profile.table(s["device_class"], 1).span_us(*s["blocks"])[batch - 1]) for s in stages)
    slo_us = 6 * alone_us + 40_000
    plan = write_plan(folder, profile, stages, batch, slo_us, {"fast": 1, "slow": workers})
    rate = json.loads(plan.read_text())["models"][0]["rate_rps"]
    seconds = 4.0 if run.tiny else 20.0
    arguments = [*executor_arguments(run, "fast"), "--executor", "slow=padded"]
    arguments += ["--record", str(folder / "record")]
    with LocalServer(plan, arguments, ready_s=90.0) as server:
        load(server.url, name, 0.2 * rate, 1.0, 3)
        light = load(server.url, name, 0.2 * rate, 2.0 if run.tiny else 4.0, 2)
        load(server.url, name, LOAD * rate, seconds, 1, folder / "client")
    overhead_us = max(0, round(_p50_us(light) - _p50_us(_simulated(plan, 0.2, 10.0, 2, 0))))
    # The same seed and rate draw the same arrivals; both leave out the first tenth.
    simulated = _simulated(plan, LOAD, seconds, 1, overhead_us)
    client = load_record(folder / "client")
    window = {"start_us": round(WARM_UP_SHARE * seconds * 1e6), "stop_us": round(seconds * 1e6)}
    (measured,) = summarise(client, **window)
    return {
        "model": name,
        "batch": batch,
        "stages": json.loads(plan.read_text())["models"][0]["pipelines"][0]["stages"],
        "slo_us": slo_us,
        "planned_rps": rate,
        "predicted": {"offered_rps": LOAD * rate, "alone_us": alone_us},
        "overhead_us": overhead_us,
        "light": light["models"][0],
        "simulated": simulated["models"][0],
        "measured": summary_document(measured),
        "stage_us": _stage_times(load_record(folder / "record"), len(client.requests.request)),
    }


def _stage_times(record: Record, last: int) -> list[Json]:
    """Of each stage: how long batches really took, by size, in the last ``last`` requests; for the planned times."""
    batches = record.batches
    of_these = np.isin(batches.batch, np.unique(record.requests.batch[-last:]))
    found = []
    for stage in np.unique(batches.stage).tolist():
        one: Json = {"stage": stage}
        for size in np.unique(batches.size).tolist():
            rows = of_these & (batches.stage == stage) & (batches.size == size)
            if rows.any():
                one[f"batch {size}"] = quantiles((batches.end_us - batches.start_us)[rows].tolist())
                waited = (batches.start_us - batches.queued_us)[rows].tolist()
                one[f"batch {size} waited"] = quantiles(waited)
        found.append(one)
    return found


def _simulated(plan: Path, factor: float, seconds: float, seed: int, overhead_us: int) -> Json:
    costs = ["--dispatch-us", str(DISPATCH_US), "--overhead-us", str(overhead_us)]
    arguments = ["--load", str(factor), "--seconds", str(seconds), "--seed", str(seed), *costs]
    return penstock(["simulate", str(plan), *arguments])


def _p50_us(figures: Json) -> float:
    return float(figures["models"][0]["p50_us"])


def two_stage_table(found: Json) -> str:
    rows: list[list[object]] = [
        ["predicted", found["predicted"]["offered_rps"], None, None, found["predicted"]["alone_us"], None]
    ]
    for what in ("simulated", "measured"):
        one = found[what]
        keys = ("offered_rps", "goodput_rps", "attainment", "p50_us", "p99_us")
        rows.append([what, *[one.get(key) for key in keys]])
    heads = ["figure", "offered /s", "goodput /s", "attainment", "p50, us", "p99, us"]
    parts = [table(f"{found['model']}, two stages at {LOAD} of {found['planned_rps']:.1f}/s", heads, rows)]
    full, times = f"batch {found['batch']}", []
    for stage, one in zip(found["stages"], found["stage_us"], strict=True):
        if full in one:
            run, waited = one[full], one[f"{full} waited"]
            times.append(
                [one["stage"], stage["inference_us"], run["p50_us"], run["p99_us"], waited["p50_us"]]
            )
    heads = ["stage", "planned, us", "measured p50, us", "p99, us", "waited in the inbox, p50, us"]
    parts.append(table(f"Its stages at {full}", heads, times))
    return "\n".join(parts)
