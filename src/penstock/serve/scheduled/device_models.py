"""Profiles to models that a device can run: the segments of the profile's cut, loaded and warm, and their times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.profile.measuring.session import open_session
from penstock.profile.segments.segmented import SegmentedModel, session_segment
from penstock.profile.table import Profile
from penstock.runtime.settings import RuntimeSettings
from penstock.serve.boundaries import Boundaries, boundaries_of
from penstock.serve.protocol.datatypes import BYTES, numpy_dtype
from penstock.serve.scheduled.device_spec import TypeSpec, copies_of
from penstock.serve.scheduled.thread_driver import SegmentRunner
from penstock.serve.spec import ModelSpec, TensorSpec

SLO_TIMES_OWN = 5
"""The SLO of a model for which none is stated, in times of its own latency alone."""


@dataclass(frozen=True)
class DeviceModel:
    """A model on the device: what clients see of it, what the policy knows of it, and what runs."""

    spec: ModelSpec
    kind: TypeSpec
    runner: SegmentRunner


CPU_SETTINGS = RuntimeSettings()


def load_device_model(
    profile: Profile,
    device_class: str,
    folder: Path,
    *,
    slo_us: int | None = None,
    settings: RuntimeSettings = CPU_SETTINGS,
    window: int = 1,
) -> DeviceModel:
    """The model of ``profile``, cut as it says for ``device_class``; its segments' files go into ``folder``.

    ``settings``: onnxruntime on the CPU, or torch. ``window``: segments in flight on the device. Raises
    :class:`BadInputError` if the profile has no ONNX file, or no latencies of the class on a whole device.
    """
    cuts = boundaries_of(profile)
    table = profile.table(device_class, 1)
    boundaries = profile.segments_on(device_class)
    spans_us = [float(table.span_us(start, stop)[0]) for start, stop in pairwise(boundaries)]
    slo_us = round(SLO_TIMES_OWN * sum(spans_us)) if slo_us is None else slo_us
    kind = TypeSpec(
        profile.model,
        len(spans_us),
        slo_us=slo_us,
        stage_us=tuple(spans_us),
        copies=copies_of(settings, window),
    )
    spec = ModelSpec(
        name=profile.model,
        slo_us=slo_us,
        rate_rps=0.0,
        max_batch=table.max_batch,
        inputs=cuts.inputs,
        outputs=cuts.outputs,
        executors=(settings.kind,),
    )
    files, computed, forwarded = write_segments(cuts, boundaries, folder, profile.model)
    if settings.kind == "torch":
        from penstock.serve.scheduled.on_torch.load import torch_segments

        on_torch = torch_segments(profile.model, files, forwarded, spec.inputs, settings, kind.copies)
        return DeviceModel(spec, kind, on_torch)
    sessions = [open_session(file, settings.threads) for file in files]
    runner = SegmentedModel(
        [session_segment(*one) for one in zip(sessions, computed, strict=True)], forwarded
    )
    warm_up(runner, spec.inputs)
    return DeviceModel(spec, kind, runner)


def write_segments(
    cuts: Boundaries, boundaries: Sequence[int], folder: Path, name: str
) -> tuple[list[Path], list[list[str]], list[frozenset[str]]]:
    """Blocks between ``boundaries`` as files; what each computes, and which of its inputs are needed behind it."""
    files, computed, forwarded = [], [], []
    for start, stop in pairwise(boundaries):
        path = folder / f"{name.replace('/', '_')}-{start}-{stop}.onnx"
        if not path.exists():
            cuts.write_stage(start, stop, path)
        passing = cuts.forwarded(start, stop)
        files.append(path)
        computed.append([one.name for one in cuts.crossing(stop) if one.name not in passing])
        forwarded.append(frozenset(passing))
    return files, computed, forwarded


def warm_up(runner: SegmentedModel, inputs: Sequence[TensorSpec]) -> None:
    """Run one sample through: the first run allocates and packs, and no request should wait for it."""
    if any(spec.datatype == BYTES for spec in inputs):
        return  # strings have no neutral value
    tensors = {spec.name: np.zeros(spec.shape_of(1), numpy_dtype(spec.datatype)) for spec in inputs}
    for segment in range(runner.n_segments):
        tensors = dict(runner.run(segment, tensors))


def device_class_of(profiles: Mapping[str, Profile], asked: str | None) -> str:
    """The class whose cuts and times count: ``asked``, or the only one that all profiles have measured."""
    measured = [
        {name for name in one.device_classes if one.provenance_of(name).kind == "measured"}
        for one in profiles.values()
    ]
    common = sorted(set.intersection(*measured))
    if asked is None and len(common) != 1:
        raise BadInputError(
            f"{len(common)} device classes were measured in all profiles ({', '.join(common) or 'none'}): say which "
            f"one this machine is with --device-class, or profile the models on it."
        )
    if asked is not None and asked not in common:
        raise BadInputError(
            f"--device-class {asked!r}: was not measured in all profiles (that are {', '.join(common) or 'none'}). "
            f"Profile each model with --device-class {asked}."
        )
    return common[0] if asked is None else asked
