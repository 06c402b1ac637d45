"""The demonstration's inputs: a real model, its profile on this machine, a slower class, a scenario."""

from __future__ import annotations

from pathlib import Path

import yaml

from penstock.cli.common.output import note
from penstock.cli.demo import settings
from penstock.cli.demo.neighbour import busy_neighbour
from penstock.files import write_text, write_whole
from penstock.graph.cuts import boundary_bytes
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.partition.prepartition import prepartition
from penstock.profile.build import build_profile
from penstock.profile.emulate import derive_slower
from penstock.profile.measuring.measure import measure
from penstock.profile.measuring.timing import Effort
from penstock.profile.prediction.device_catalogue import device_spec
from penstock.profile.prediction.predict import block_ratios, predict_operators
from penstock.profile.store import save_profile
from penstock.profile.table import Profile
from penstock.zoo import build


def prepare(folder: Path) -> Path:
    """Write model, profile and scenario into ``folder``. Returns the path of the scenario."""
    onnx_file = folder / f"{settings.MODEL}.onnx"
    weights = build(settings.MODEL, seed=0).SerializeToString()
    write_whole(onnx_file, lambda made: made.write_bytes(weights))
    model = read_onnx(onnx_file)
    note(f"  {settings.MODEL}: {len(model.graph.operators)} operators, {len(weights) / 1e6:.0f} MB")
    profile = _profile(model)
    save_profile(profile, folder / "profile")
    scenario = folder / "scenario.yaml"
    write_text(scenario, _scenario(profile))
    return scenario


def _profile(model: OnnxModel) -> Profile:
    """Ten blocks, measured here as ``fast``. ``slow`` is derived from it by the roofline, block by block."""
    low, high = device_spec(settings.ROOFLINE_LOW), device_spec(settings.ROOFLINE_HIGH)
    costs = {spec.name: predict_operators(model.graph, spec) for spec in (low, high)}
    boundaries = prepartition(costs, boundary_bytes(model.graph)).solution
    note(f"  measuring {len(boundaries) - 1} blocks, about {settings.PROFILE_SECONDS:.0f} s")
    with busy_neighbour(model.path, model.graph.tensors[model.graph.inputs[0]].shape_at(1)):
        measured = measure(
            model,
            boundaries,
            max_batch=settings.MAX_BATCH,
            effort=Effort(seconds=settings.PROFILE_SECONDS),
        )
    profile = build_profile(model, boundaries, measured={settings.FAST: measured}, predicted={})
    factors = block_ratios(model.graph, boundaries, low, high, settings.ROOFLINE_BATCH)
    note(f"  {settings.SLOW} is {factors.min():.2f} to {factors.max():.2f} times slower, by block")
    reason = (
        f"{settings.ROOFLINE_LOW} against {settings.ROOFLINE_HIGH} by the roofline "
        f"at batch {settings.ROOFLINE_BATCH}"
    )
    return derive_slower(profile, settings.FAST, settings.SLOW, factors, reason)


def _scenario(profile: Profile) -> str:
    whole_us = int(profile.table(settings.FAST, 1).span_us(0, len(profile.blocks))[0])
    document = {
        "version": 1,
        "cluster": {
            "bandwidth_gbps": settings.BANDWIDTH_GBPS,
            "device_classes": {
                settings.FAST: {"count": 1},
                settings.SLOW: {"count": settings.SLOW_COUNT},
            },
        },
        "models": [
            {
                "name": settings.MODEL,
                "profile": "profile",
                "slo_us": settings.SLO_FACTOR * whole_us,
                "slo_margin": settings.SLO_MARGIN,
            }
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)
