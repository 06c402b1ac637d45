"""The plan file of a PPipe artifact: ``plans/SET/NAME_SCHEDULER.json``, its fields and its name.

The file is a list with one entry per model. Device counts and weights are only in its name, which has the form
``MODEL[-MODEL...][_WEIGHTS]_CLASSES_COUNTS_..._SCHEDULER``. Models' names may contain dashes and underscores. So
the name is compared with the entries, never split without them. Fields that a conversion
does not need are ignored. Source: the artifact of Kong, Xu, Hu, "PPipe", USENIX ATC 2025.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, RootModel

from penstock.errors import BadInputError
from penstock.files import StrictModel, read_json, validate

PLANNERS = {"v4": "ppipe", "bl": "np", "dart-r": "dart-r"}
"""Our name of the planner, by the artifact's scheduler suffix."""

_AFTER_MODELS = re.compile(
    r"_(?:(?P<weights>[0-9.]+(?:-[0-9.]+)*)_)?(?P<classes>[^_]*[^_0-9.-][^_]*)_(?P<counts>[0-9]+(?:-[0-9]+)*)(?:_.*)?"
)


class _Lenient(StrictModel):
    model_config = ConfigDict(extra="ignore")


class Partition(_Lenient):
    """One stage. ``layers`` are blocks [i, j), ``mps`` is the share minus one, ``num_gpu`` counts devices."""

    layers: tuple[int, int]
    gpu: str
    mps: int = Field(ge=0)
    bs: int = Field(ge=1)
    num_gpu: float = Field(gt=0)


class PipelineEntry(_Lenient):
    """One pipeline: its stages in order."""

    partitions: list[Partition] = Field(min_length=1)


class Config(_Lenient):
    """The question to the artifact's planner. Arrays are by device class, in the order of ``gpu_name_arr``."""

    dnn_name: str
    gpu_name_arr: list[str] = Field(min_length=1)
    num_mps_levels: list[int]
    num_gpu_per_server_arr: list[int]
    bw_gbps: float = Field(gt=0)
    max_num_parts: int = Field(ge=1)
    est_xput: float = Field(gt=0)
    batch_build_factor: float = Field(ge=0)
    hist_adjustment: float = Field(ge=0)


class Entry(_Lenient):
    """One model's part of the plan. ``xput`` in requests per second, ``sla`` in microseconds."""

    xput: float = Field(gt=0)
    sla: float = Field(gt=0)
    config: Config
    pipelines: list[PipelineEntry] = Field(min_length=1)
    mipgap: float | None = Field(default=None, ge=0)
    runtime: float | None = Field(default=None, ge=0)


class _Entries(RootModel[Annotated[list[Entry], Field(min_length=1)]]):
    pass


@dataclass(frozen=True)
class PlanFile:
    """One plan file, read completely. ``counts`` are devices by class, ``weights`` are by entry."""

    path: Path
    planner: str
    entries: tuple[Entry, ...]
    counts: tuple[int, ...]
    weights: tuple[float, ...]

    @property
    def config(self) -> Config:
        """The first entry's configuration. All entries have the same cluster."""
        return self.entries[0].config


def split_name(path: Path) -> tuple[str, str]:
    """The plan's name without its scheduler, and our name of the planner."""
    name, _, scheduler = path.stem.rpartition("_")
    if path.suffix != ".json" or not name or scheduler not in PLANNERS:
        raise BadInputError(
            f"{path}: must be named NAME_SCHEDULER.json with a scheduler of {', '.join(PLANNERS)}. "
            f"Rename or remove it."
        )
    return name, PLANNERS[scheduler]


def read_plan_file(path: Path) -> PlanFile:
    """The plan in ``path``. Its name and its entries are checked against each other.

    Raises :class:`BadInputError` that names the file and its fault.
    """
    name, planner = split_name(path)
    entries = validate(_Entries, read_json(path), path).root
    _check_cluster(path, entries)
    models = "-".join(entry.config.dnn_name for entry in entries)
    classes = "-".join(entries[0].config.gpu_name_arr)
    found = _AFTER_MODELS.fullmatch(name.removeprefix(models)) if name.startswith(models) else None
    if found is None or found["classes"] != classes:
        raise BadInputError(
            f"{path}: its name must read {models}[_WEIGHTS]_{classes}_COUNTS... by the models and "
            f"device classes inside. Rename it, or take it from the artifact again."
        )
    counts = tuple(int(count) for count in found["counts"].split("-"))
    weights = _weights(path, found["weights"], len(entries))
    if len(counts) != len(entries[0].config.gpu_name_arr):
        raise BadInputError(
            f"{path}: its name gives counts {found['counts']}, but needs one per device class."
        )
    return PlanFile(path, planner, tuple(entries), counts, weights)


def _weights(path: Path, text: str | None, models: int) -> tuple[float, ...]:
    """The weights in a file's name, one per model. A single model may have no weight there."""
    if text is None and models == 1:
        return (1.0,)
    try:
        weights = tuple(float(part) for part in (text or "").split("-"))
    except ValueError:
        weights = ()
    if len(weights) != models or min(weights) <= 0:
        raise BadInputError(
            f"{path}: its name gives weights {text}, but needs one above 0 for each of {models} models."
        )
    return weights


def _check_cluster(path: Path, entries: Sequence[Entry]) -> None:
    """Every entry must describe the same cluster, with one value per device class."""
    first = entries[0].config
    classes = len(first.gpu_name_arr)
    if len(first.num_mps_levels) != classes or len(first.num_gpu_per_server_arr) != classes:
        raise BadInputError(
            f"{path}: 0.config: num_mps_levels and num_gpu_per_server_arr need one value for each of "
            f"{first.gpu_name_arr}. Correct the lengths."
        )
    names = [entry.config.dnn_name for entry in entries]
    if len(set(names)) != len(names):
        raise BadInputError(f"{path}: models must differ, got {names}. Remove the repeated entry.")
    shared = (
        "gpu_name_arr",
        "num_mps_levels",
        "num_gpu_per_server_arr",
        "bw_gbps",
        "max_num_parts",
        "batch_build_factor",
    )
    for index, entry in enumerate(entries):
        for field in shared:
            if getattr(entry.config, field) != getattr(first, field):
                raise BadInputError(
                    f"{path}: {index}.config.{field} (={getattr(entry.config, field)}) differs from the "
                    f"first entry's ({getattr(first, field)}), but the cluster is one. Correct one of them."
                )
