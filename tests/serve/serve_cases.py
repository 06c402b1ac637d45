"""Tiny plans on disk, and servers for them, shared by the server's tests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from penstock.cluster import Cluster, DeviceClass
from penstock.plan.documents.plan import ModelPlan, PipelinePlan, Plan, StagePlan
from penstock.plan.documents.scenario import PlannerSettings, Scenario, ServedModel
from penstock.plan.documents.store import save_plan
from penstock.plan.placement.seats import place
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.schedule.pieces import piece_rows

WIDTH = 8
GBPS = 10.0


def write_skip_model(path: Path, seed: int = 7) -> Path:
    """``sum = relu(x @ a) @ b + x @ a`` and ``double = 2 x``: h = x @ a skips the middle operators."""
    rng = np.random.default_rng(seed)
    weights = {name: rng.normal(size=(WIDTH, WIDTH)).astype(np.float32) for name in ("a", "b")}
    weights["two"] = np.array(2, dtype=np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
            helper.make_node("Relu", ["h"], ["r"], name="middle"),
            helper.make_node("MatMul", ["r", "b"], ["m"], name="second"),
            helper.make_node("Add", ["m", "h"], ["sum"], name="skip"),
            helper.make_node("Mul", ["x", "two"], ["double"], name="late"),
        ],
        "skip",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", WIDTH])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", WIDTH]) for name in ("sum", "double")],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def skip_profile(path: Path, latency_us: int = 1_000) -> Profile:
    """A profile of :func:`write_skip_model`'s file: a block an operator, the last two together."""
    from penstock.graph.cuts import boundary_bytes
    from penstock.graph.reading.onnx_reader import read_onnx

    model = read_onnx(path)
    names = [operator.name for operator in model.graph.operators]
    blocks = [names[:1], names[1:2], names[2:3], names[3:]]
    sizes = boundary_bytes(model.graph)
    bounds = (int(sizes[0]), int(sizes[1]), int(sizes[2]), int(sizes[3]), int(sizes[5]))
    profile = bytes_profile("skip", bounds, latency_us)
    return replace(
        profile,
        blocks=tuple(Block(f"b{i}", tuple(ops), 0, 0) for i, ops in enumerate(blocks)),
        model_file=str(path),
        model_sha256=model.sha256,
    )


def bytes_profile(name: str, boundary_bytes: Sequence[int], latency_us: int = 1_000) -> Profile:
    """Every block takes ``latency_us`` for batch 1 and a tenth more for each further sample, up to 4."""
    count = len(boundary_bytes) - 1
    row = [latency_us + latency_us * extra // 10 for extra in range(4)]
    return Profile(
        model=name,
        blocks=tuple(Block(f"b{i}", (f"op{i}",), 0, 0) for i in range(count)),
        boundary_bytes=tuple(boundary_bytes),
        tables={("gpu", 1): LatencyTable(np.array([row] * count, dtype=np.int64))},
        provenance=Provenance("imported", "none", "none", "2025-01-01"),
    )


def write_plan(
    folder: Path,
    profile: Profile,
    cuts: Sequence[int],
    *,
    workers: int = 1,
    batch: int = 4,
    slo_us: int = 1_000_000,
    beside: Sequence[Profile] = (),
    pieces: Sequence[int] = (),
) -> Path:
    """A sound plan of a pipeline cut at ``cuts`` (block boundaries from 0 to the last), ``workers`` a stage.

    Models ``beside`` it get a pipeline of the same kind; then all stages of a place share a pool. ``pieces``: into how
    many each stage splits a batch.
    """
    pieces = pieces or [1] * (len(cuts) - 1)
    profiles = [profile, *beside]
    for one in profiles:
        save_profile(one, folder / one.model)
    models = [_model_plan(one, cuts, workers, batch, slo_us, pieces) for one in profiles]
    least = min(model.rate_rps for model in models)
    devices = workers * (len(cuts) - 1) * len(models)
    cluster = Cluster(bandwidth_gbps=GBPS, device_classes={"gpu": DeviceClass(count=devices)})
    served = [
        ServedModel(name=m.name, profile=m.name, slo_us=slo_us, slo_margin=0.0, estimated_rps=m.rate_rps)
        for m in models
    ]
    plan = Plan(
        version=1,
        planner="by hand",
        objective=least,
        bound=least,
        gap=0.0,
        status="optimal",
        stats={},
        scenario=Scenario(
            version=1,
            cluster=cluster,
            models=served,
            planner=PlannerSettings(max_stages=len(cuts) - 1, split_stages=max(pieces)),
        ),
        shared_pools=bool(beside),
        models=models,
        placement=place(models, cluster),
    )
    path = folder / "plan.json"
    save_plan(plan, path)
    return path


def _model_plan(
    profile: Profile, cuts: Sequence[int], workers: int, batch: int, slo_us: int, pieces: Sequence[int]
) -> ModelPlan:
    spans = list(pairwise(cuts))
    table = profile.table("gpu", 1)
    samples = [profile.boundary_bytes[stop] * 8 / (GBPS * 1e9) * 1e6 for _, stop in spans[:-1]] + [0.0]
    stages = []
    for index, (start, stop) in enumerate(spans):
        span_us = table.span_us(start, stop)
        times_us = [int(span_us[end - begin - 1]) for begin, end in piece_rows(batch, pieces[index])]
        rate = batch * 1e6 / sum(times_us)
        for sample_us in (samples[index], samples[index - 1] if index else 0.0):
            rate = min(rate, 1e6 / sample_us) if sample_us else rate
        stages.append(
            StagePlan(
                blocks=(start, stop),
                device_class="gpu",
                share=1,
                batch=batch,
                pieces=pieces[index],
                workers=workers,
                inference_us=times_us[0],
                transfer_us=math.ceil(batch * samples[index] - 1e-6),
                rate_rps=rate * workers,
            )
        )
    rate = min(stage.rate_rps for stage in stages)
    return ModelPlan(
        name=profile.model,
        rate_rps=rate,
        slo_us=slo_us,
        margin_us=0,
        estimated_rps=rate,
        pipelines=[PipelinePlan(rate_rps=rate, stages=stages)],
    )
