"""Profiles from a PPipe artifact folder: measured tables that its authors publish with their paper.

These files are read, all in the folder that a user names:

- ``prepartition_mappings/MODEL/contraction_mapping_*.csv``: operator, block; one row per operator
- ``prepartition_mappings/MODEL/contraction_trans-size_*.csv``: bytes per sample over each interior boundary
- ``models/block-timing-tf32/MODEL-CLASS-SHARE.csv``: rows are blocks, columns are batch 1, 2, ...; microseconds
- ``models/model-profile-tf32/MODEL/CLASS-1/1/*.timing.json``: whole-model runs of batch 1, optional
- ``models/cuts-no-const/MODEL.json``: tensors needed before the first operator, after each operator, and at the end
- ``models/shapes/MODEL.json``: type and shape of each tensor, the batch dimension as -1
- ``models/node-profile-no-const/MODEL-CLASS.csv``: operator, latency in microseconds

Source: Kong, Xu, Hu, "PPipe", USENIX ATC 2025, and its artifact. A missing or wrong file gives a
:class:`BadInputError` that names it. Nothing is guessed.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import model_validator

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.files import StrictModel, read_json, read_text, validate
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

TIMINGS = Path("models", "block-timing-tf32")
MAPPINGS = Path("prepartition_mappings")

# The artifact sends activations in half precision and indices in 32 bits (it calls this "float16 on the wire").
_SENT_BYTES = {"<f4": 2, "<i8": 4}

_NOTE = (
    "PPipe artifact, TensorRT with TF32. Parameter bytes are unknown and stand as 0; peak activation bytes "
    "are the largest set of tensors alive between two operators, in the types of the graph."
)


class _Tensor(StrictModel):
    """``dtype`` in NumPy's notation. A negative dimension -n is n times the batch."""

    dtype: str
    shape: tuple[int, ...]

    @model_validator(mode="after")
    def _has_a_size(self) -> Self:
        try:
            np.dtype(self.dtype)
        except TypeError:
            raise ValueError(f"dtype {self.dtype!r} is no NumPy type; correct it, as in '<f4'") from None
        if sum(size < 0 for size in self.shape) > 1:
            raise ValueError(f"shape {self.shape} has two open dimensions; only the batch may be one")
        return self

    def sample_bytes(self, widths: Mapping[str, int]) -> int:
        """Bytes of one sample. A value of a type in ``widths`` takes that many bytes."""
        width = widths.get(self.dtype) or np.dtype(self.dtype).itemsize
        return width * abs(math.prod(self.shape))


def model_names(folder: Path) -> list[str]:
    """The models of the artifact in ``folder``, sorted. Each has block timings and a mapping.

    Raises :class:`BadInputError` if the folder holds no artifact, or if one of the two is missing.
    """
    timed = {model for model, _, _ in _timing_files(folder)}
    mapped = {path.name for path in _listed(folder / MAPPINGS) if path.is_dir()}
    for model in sorted(timed - mapped):
        raise BadInputError(
            f"{folder / MAPPINGS / model}: no such folder, but {TIMINGS} times the model. Add it."
        )
    for model in sorted(mapped - timed):
        raise BadInputError(
            f"{folder / TIMINGS}: no {model}-CLASS-SHARE.csv, but {MAPPINGS} maps it. Add it."
        )
    return sorted(timed)


def read_profiles(folder: Path) -> dict[str, Profile]:
    """The profile of every model of the artifact in ``folder``, by name."""
    tables: dict[str, dict[tuple[str, int], Path]] = {model: {} for model in model_names(folder)}
    for (model, device_class, share), path in _timing_files(folder).items():
        tables[model][device_class, share] = path
    return {model: _profile(folder, model, paths) for model, paths in tables.items()}


def read_operator_costs(folder: Path, model: str) -> tuple[dict[str, F64], I64]:
    """Operator latencies by device class, and bytes per sample before each operator and at the end.

    They are float64 microseconds of shape (n_operators,) and int64 of shape (n_operators + 1,), as
    :func:`penstock.partition.prepartition.prepartition` needs them.
    """
    nodes = folder / "models" / "node-profile-no-const"
    cuts, tensors = _graph(folder, model)
    boundary = np.array([_bytes(cut, tensors, _SENT_BYTES) for cut in cuts], dtype=np.int64)
    latency_us = {}
    for path in _listed(nodes):
        device_class = path.stem.removeprefix(f"{model}-")
        if path.suffix == ".csv" and path.stem == f"{model}-{device_class}" and "-" not in device_class:
            rows = _rows(path, columns=2)[1:]  # the first row is the header
            latency_us[device_class] = np.array([_number(row[1], path) for row in rows])
            if len(rows) != len(boundary) - 1:
                raise BadInputError(f"{path}: {len(rows)} operators, but the cuts have {len(boundary) - 1}.")
    if not latency_us:
        raise BadInputError(f"{nodes}: no {model}-CLASS.csv. Is {model!r} a model of this artifact?")
    return latency_us, boundary


def _profile(folder: Path, model: str, paths: dict[tuple[str, int], Path]) -> Profile:
    operators = _blocks(folder, model)
    cuts, tensors = _graph(folder, model)
    if len(cuts) != sum(map(len, operators)) + 1:
        raise BadInputError(
            f"{folder / MAPPINGS / model}: maps {sum(map(len, operators))} operators, but the cuts have "
            f"{len(cuts) - 1}. Take both from one version of the artifact."
        )
    ends = np.cumsum([0, *map(len, operators)])
    alive = [_bytes(cut, tensors, {}) for cut in cuts]
    blocks = tuple(
        Block(f"block{index}", names, 0, max(alive[ends[index] : ends[index + 1] + 1]))
        for index, names in enumerate(operators)
    )
    outer = (_bytes(cuts[0], tensors, _SENT_BYTES), _bytes(cuts[-1], tensors, _SENT_BYTES))
    classes = sorted({device_class for device_class, _ in paths})
    today = datetime.now(UTC).date().isoformat()
    return Profile(
        model=model,
        blocks=blocks,
        boundary_bytes=(outer[0], *_interior_bytes(folder, model, len(blocks)), outer[1]),
        tables={key: _table(path, len(blocks)) for key, path in sorted(paths.items())},
        provenance=Provenance("imported", ", ".join(classes), "TensorRT (TF32)", today, note=_NOTE),
        whole_us={name: whole for name in classes if (whole := _whole_us(folder, model, name)) is not None},
    )


def _blocks(folder: Path, model: str) -> list[tuple[str, ...]]:
    """Operator names of each block, in model order."""
    path = _only(folder / MAPPINGS / model, "contraction_mapping_*.csv")
    blocks: list[list[str]] = []
    for operator, block in _rows(path, columns=2):
        if block == str(len(blocks)):
            blocks.append([])
        elif block != str(len(blocks) - 1):
            raise BadInputError(
                f"{path}: operator {operator!r}: block {block!r} breaks the order 0, 1, 2, ..."
            )
        blocks[-1].append(operator)
    return [tuple(names) for names in blocks]


def _interior_bytes(folder: Path, model: str, blocks: int) -> list[int]:
    path = _only(folder / MAPPINGS / model, "contraction_trans-size_*.csv")
    sizes = [_whole(row[0], path) for row in _rows(path, columns=1)]
    if len(sizes) != blocks - 1:
        raise BadInputError(
            f"{path}: {len(sizes)} boundaries, but {blocks} blocks have {blocks - 1} in between."
        )
    return sizes


def _table(path: Path, blocks: int) -> LatencyTable:
    latency_us = [[_whole(cell, path) for cell in row] for row in _rows(path)]
    if len(latency_us) != blocks:
        raise BadInputError(f"{path}: {len(latency_us)} rows, but the model's mapping has {blocks} blocks.")
    return LatencyTable(np.array(latency_us, dtype=np.int64))


def _whole_us(folder: Path, model: str, device_class: str) -> int | None:
    """Mean of the whole-model runs of batch 1. None if the artifact has none.

    It is the mean, not the median: five times this value on L4 is the published SLO of the model.
    """
    runs = folder / "models" / "model-profile-tf32" / model / f"{device_class}-1" / "1"
    if not runs.is_dir():
        return None
    path = _only(runs, "*.timing.json")
    document = read_json(path)
    if not isinstance(document, list) or not document:
        raise BadInputError(f"{path}: must be a list of at least one run. Is it a timing file?")
    latency_ms = [run.get("latencyMs") if isinstance(run, dict) else None for run in document]
    if not all(isinstance(value, int | float) and value > 0 for value in latency_ms):
        raise BadInputError(f"{path}: every run needs latencyMs above 0. Is it a timing file?")
    return round(float(np.mean(latency_ms)) * 1e3)  # type: ignore[arg-type]


def _graph(folder: Path, model: str) -> tuple[list[list[str]], dict[str, _Tensor]]:
    """Names of the tensors across each boundary, (n_operators + 1,), and the tensors by name.

    The file ends with one more cut, which is empty: after the outputs are taken, no tensor is needed.
    """
    path = folder / "models" / "cuts-no-const" / f"{model}.json"
    document: Any = read_json(path)
    try:
        cuts = [[str(name) for name in entry["cut"]] for entry in document]
    except (KeyError, TypeError):
        raise BadInputError(f"{path}: must be a list of objects with the field 'cut'.") from None
    shapes = path.parent.parent / "shapes" / path.name
    described = read_json(shapes)
    if not isinstance(described, dict):
        raise BadInputError(f"{shapes}: must be an object of tensors by name.")
    tensors = {name: validate(_Tensor, value, shapes) for name, value in described.items()}
    for name in {name for cut in cuts for name in cut} - tensors.keys():
        raise BadInputError(
            f"{shapes}: lacks the tensor {name!r} that {path} names. Add its dtype and shape."
        )
    return cuts[:-1], tensors


def _bytes(cut: Sequence[str], tensors: Mapping[str, _Tensor], widths: Mapping[str, int]) -> int:
    """Bytes of a cut per sample."""
    return sum(tensors[name].sample_bytes(widths) for name in cut)


def _timing_files(folder: Path) -> dict[tuple[str, str, int], Path]:
    """Block timings by (model, device class, share). A model's name may contain dashes."""
    files = {}
    for path in _listed(folder / TIMINGS):
        model, *rest = path.stem.rsplit("-", 2)
        if path.suffix != ".csv" or len(rest) != 2 or not rest[1].isdecimal():
            raise BadInputError(f"{path}: must be named MODEL-CLASS-SHARE.csv. Rename or remove it.")
        files[model, rest[0], int(rest[1])] = path
    if not files:
        raise BadInputError(f"{folder / TIMINGS}: holds no timings. Name the folder of a PPipe artifact.")
    return files


def _listed(folder: Path) -> list[Path]:
    """The contents of ``folder``, sorted, without hidden files."""
    if not folder.is_dir():
        raise BadInputError(
            f"{folder}: no such folder. Name the folder of a PPipe artifact, the one that holds it."
        )
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise BadInputError(f"{folder}: must hold one {pattern}, but has {len(found)}. Keep one.")
    return found[0]


def _rows(path: Path, columns: int | None = None) -> list[list[str]]:
    """The rows of a CSV file, at least one, all of one length (``columns`` if it is given)."""
    try:
        rows = [row for row in csv.reader(io.StringIO(read_text(path))) if row]
    except csv.Error as error:
        raise BadInputError(f"{path}: not CSV: {error}.") from None
    if not rows:
        raise BadInputError(f"{path}: is empty. Take the file from the artifact again.")
    width = columns or len(rows[0])
    for number, row in enumerate(rows, start=1):
        if len(row) != width:
            raise BadInputError(f"{path}: row {number} has {len(row)} cells, but must have {width}.")
    return rows


def _number(text: str, path: Path) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 2**53:  # this also refuses nan
        raise BadInputError(f"{path}: {text!r} must be a number from 0 upwards. Correct the cell.")
    return value


def _whole(text: str, path: Path) -> int:
    value = _number(text, path)
    if value != int(value):
        raise BadInputError(f"{path}: {text!r} must be a whole number. Correct the cell.")
    return int(value)
