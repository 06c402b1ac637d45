"""Read any graph that can be partitioned. Its name and its content show its format.

| source | recognised by |
|---|---|
| profile (:mod:`.boundary_chain`), measured, predicted or imported | a folder |
| ONNX (:mod:`.onnx_model`), operators predicted by the roofline | ``.onnx`` |
| placement graph (:mod:`.placement`) | ``.json`` |
| pipedream graph (:mod:`.pipedream`) | any other name |
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.partition.formats.boundary_chain import chain_problem
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.formats.onnx_model import model_problem
from penstock.partition.formats.pipedream import read_pipedream
from penstock.partition.formats.placement import read_placement
from penstock.profile.prediction.device_catalogue import device_spec
from penstock.profile.prediction.predict import predict_operators
from penstock.profile.store import load_profile


def read_graph(
    path: Path,
    *,
    bandwidth_gbps: float,
    device_class: str | None = None,
    memory_gb: float | None = None,
    reading: ReadOptions = AS_IT_IS,
) -> GraphFile:
    """The problem in ``path``. ``device_class`` says whose times to use if the source has none or several.
    ``reading``: what an ONNX file leaves open.

    Raises :class:`BadInputError` for a source that cannot be read, and if a device class is missing.
    """
    if not (0 < bandwidth_gbps < float("inf")):
        raise BadInputError(f"bandwidth (={bandwidth_gbps} Gbit/s) must be above 0. Give the link's rate.")
    if path.is_dir():
        return _read_profile(path, bandwidth_gbps, device_class)
    if not path.exists():
        raise BadInputError(f"{path}: no such file. Check the path, or create the file first.")
    if path.suffix == ".onnx":
        if device_class is None:
            raise BadInputError(
                f"{path}: an ONNX file has no times. Name the device to predict them for with --device-class, or give "
                f"a profile folder instead."
            )
        model = read_onnx(path, reading)
        operator_us = predict_operators(model.graph, device_spec(device_class))
        memory_bytes = None if memory_gb is None else memory_gb * 1e9
        return model_problem(model.graph, operator_us, bandwidth_gbps, memory_bytes=memory_bytes)
    return read_placement(path) if path.suffix == ".json" else read_pipedream(path, bandwidth_gbps)


def read_class_times(
    path: Path, *, bandwidth_gbps: float, classes: Sequence[str], reading: ReadOptions = AS_IT_IS
) -> tuple[GraphFile, dict[str, F64]]:
    """The graph of ``path`` and the time of each operator by device class: for partitions over different devices.

    Raises :class:`BadInputError` if a source is neither ONNX nor a profile, and for an unknown class.
    """
    if not path.is_dir() and path.suffix != ".onnx":
        raise BadInputError(f"{path}: has times of one device only. Give an ONNX file or a profile folder.")
    files = {
        name: read_graph(path, bandwidth_gbps=bandwidth_gbps, device_class=name, reading=reading)
        for name in dict.fromkeys(classes)
    }
    return next(iter(files.values())), {name: file.problem.work for name, file in files.items()}


def _read_profile(path: Path, bandwidth_gbps: float, device_class: str | None) -> GraphFile:
    """Blocks as operators, at batch 1 on a whole device."""
    profile = load_profile(path)
    classes = profile.device_classes
    if device_class is None and len(classes) > 1:
        raise BadInputError(f"{path}: has the classes {', '.join(classes)}. Choose one with --device-class.")
    chosen = device_class or classes[0]
    blocks_us = profile.table(chosen, profile.shares_of(chosen)[0] if chosen in classes else 1).latency_us[
        :, 0
    ]
    return chain_problem(
        profile.model,
        blocks_us.astype(np.float64),
        profile.boundary_bytes,
        bandwidth_gbps,
        names=[block.name for block in profile.blocks],
    )
