"""``profile.json`` as a document: what each field must be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator

from penstock.files import StrictModel, within
from penstock.graph.reading.options import BATCH
from penstock.profile.links import LinkKind

"""What a profile's folder holds, and all that ``--force`` replaces."""


def _one_line(text: str) -> str:
    # A name stands in one cell of one line.
    if not text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError("must be a text of one line, not empty and without control characters")
    return text


def _sha256(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise ValueError("must be 64 lower-case hexadecimal digits; write null if it is not known")
    return text


Name = Annotated[str, AfterValidator(_one_line)]
Bytes = Annotated[int, within(0, 2**53)]


def _iso_8601(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be an ISO 8601 date such as 2025-01-31 or 2025-01-31T09:30:00+00:00") from None
    return text


class _Reading(StrictModel):
    """What the user decided about the file: lengths of free axes, values of inputs, whether the batch was freed."""

    lengths: dict[str, Annotated[int, Field(ge=BATCH)]] = Field(default_factory=dict)
    values: dict[str, str] = Field(default_factory=dict)
    free_batch: bool = False


class _Model(StrictModel):
    name: Name
    file: Name | None = None
    sha256: Annotated[str, AfterValidator(_sha256)] | None = None
    reading: _Reading | None = None


class _Block(StrictModel):
    name: Name
    operators: tuple[str, ...]
    parameter_bytes: Bytes
    peak_activation_bytes: Bytes


class _Machine(StrictModel):
    device_name: str
    device_class: str
    driver: str | None = None
    libraries: dict[str, str] = Field(default_factory=dict)
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    power_limit_w: float | None = None
    throttle_reasons: tuple[str, ...] = ()
    mps: bool | None = None
    executor: str | None = None
    precision: str | None = None
    least_sm_clock_mhz: int | None = None


class _WorkerCosts(StrictModel):
    workspace_bytes: Bytes = 0
    load_fixed_us: Annotated[int, within(0, 10**10)] = 0
    load_us_per_gbyte: Annotated[float, within(0, 1e12)] = 0.0
    idle_w: Annotated[float, within(0, 1e6)] | None = None
    busy_w: Annotated[float, within(0, 1e6)] | None = None


class _BlockMemory(StrictModel):
    weights_bytes: Bytes
    activation_bytes: Bytes
    workspace_bytes: Bytes


class _Link(StrictModel):
    """Copies to, from or between devices."""

    kind: LinkKind
    fixed_us: Annotated[float, within(0, 1e9)]
    gbytes_per_s: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    peer: str = ""
    is_direct: bool | None = None


class StoredProvenance(StrictModel):
    """Where figures come from."""

    kind: Literal["measured", "imported", "predicted"]
    device: str
    software: str
    date: Annotated[str, AfterValidator(_iso_8601)]
    seed: int | None = None
    note: str = ""
    machine: _Machine | None = None


class StoredCut(StrictModel):
    """``boundaries`` in blocks, and the CPU time of a run whole and cut, in us, measured in turn."""

    boundaries: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=3)]
    whole_us: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    cut_us: Annotated[float, Field(gt=0, allow_inf_nan=False)]

    @model_validator(mode="after")
    def _ascends(self) -> Self:
        if self.boundaries[0] != 0 or any(start >= stop for start, stop in pairwise(self.boundaries)):
            raise ValueError(
                f"boundaries (={list(self.boundaries)}) must ascend from 0 to the number of blocks, without repeats"
            )
        return self


class _SharedWeights(StrictModel):
    """Weights that several blocks count, by their places in ``blocks``."""

    size_bytes: Bytes
    blocks: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=2)]


class _Cuts(StrictModel):
    """Kept cuts by device class. Absent: no model that shares a device with this one was known."""

    version: Literal[1]
    by_class: dict[Name, StoredCut]


class StoredHeader(StrictModel):
    """``profile.json``; ``class_provenance`` holds the device classes whose figures come from elsewhere."""

    version: Literal[1]
    model: _Model
    blocks: Annotated[tuple[_Block, ...], Field(min_length=1)]
    boundary_bytes: tuple[Bytes, ...]
    whole_us: dict[Name, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    provenance: StoredProvenance
    class_provenance: dict[Name, StoredProvenance] = Field(default_factory=dict)
    worker_costs: dict[Name, _WorkerCosts] = Field(default_factory=dict)
    block_memory: dict[Name, tuple[_BlockMemory, ...]] = Field(default_factory=dict)
    links: dict[Name, tuple[_Link, ...]] = Field(default_factory=dict)
    cuts: _Cuts | None = None
    shared_weights: tuple[_SharedWeights, ...] = ()

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [block.name for block in self.blocks]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"block name {twice!r} appears twice in blocks, but names must differ; rename one"
            )
        if len(self.boundary_bytes) != len(names) + 1:
            raise ValueError(
                f"boundary_bytes has {len(self.boundary_bytes)} entries for {len(names)} blocks, but needs "
                f"{len(names) + 1}: one before each block, and one after the last"
            )
        for device_class, memory in self.block_memory.items():
            if len(memory) != len(names):
                raise ValueError(
                    f"block_memory of {device_class!r} has {len(memory)} entries for {len(names)} blocks; give one "
                    f"a block, in their order"
                )
        for shared in self.shared_weights:
            least = min((self.blocks[b].parameter_bytes for b in shared.blocks if b < len(names)), default=0)
            if (
                max(shared.blocks) >= len(names)
                or len(set(shared.blocks)) < len(shared.blocks)
                or shared.size_bytes > least
            ):
                raise ValueError(
                    f"shared_weights of {shared.size_bytes} bytes name blocks (={list(shared.blocks)}), which must be "
                    f"different, from 0 to {len(names) - 1}, and have at least as many parameter_bytes each"
                )
        for device_class, cut in cuts_of(self).items():
            if cut.boundaries[-1] != len(names):
                raise ValueError(
                    f"cuts: boundaries (={list(cut.boundaries)}) of {device_class!r} must end at {len(names)}, the "
                    f"number of blocks"
                )
        return self


def cuts_of(header: StoredHeader) -> Mapping[str, StoredCut]:
    """The kept cuts by device class."""
    return {} if header.cuts is None else header.cuts.by_class
