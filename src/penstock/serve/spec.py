"""What the processes of one server are told at their start: plain values, resolved from a plan once.

The supervisor writes it to the run folder; gateway, dispatcher and workers read it. So none of them loads
plans, profiles or graphs, and a worker starts fast.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from penstock.schedule.table import DispatchTable

ExecutorKind = Literal["onnxruntime", "padded", "emulated"]
_FILE = "server.msgpack"

# Measured by benchmarks/serve.py on two shared cores: a request takes 1.1 to 1.8 ms more than its stages
# (medians; 24 B to 147 KiB, one and two stages), up to 3.0 ms at the 99th percentile; about 0.3 ms pass
# until the first stage has the batch.
DISPATCH_US = 300
OVERHEAD_US = 3_000


class TensorSpec(msgspec.Struct, frozen=True):
    """A tensor by its protocol datatype; ``shape`` has -1 for the batch, first in the model's own tensors."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def is_batched(self) -> bool:
        """Whether the first length, and no other, is the number of samples."""
        return self.shape[:1] == (-1,) and -1 not in self.shape[1:]

    def shape_of(self, samples: int) -> tuple[int, ...]:
        """The shape for a batch of ``samples``; between stages the batch may be any dimension, or none."""
        return tuple(samples if length == -1 else length for length in self.shape)


class StageSpec(msgspec.Struct, frozen=True):
    """What runs in one stage: ``blocks`` [start, stop) of a model.

    ``inputs`` arrive with a batch, ``computed`` come from the executor, ``forwarded`` are inputs that later
    stages need. ``latency_us[n]`` is the profile's time for a batch of n; index 0 is unused.
    """

    model: int
    pipeline: int
    blocks: tuple[int, int]
    executor: ExecutorKind
    inputs: tuple[TensorSpec, ...]
    computed: tuple[TensorSpec, ...]
    forwarded: tuple[TensorSpec, ...]
    latency_us: tuple[int, ...]
    model_file: str | None = None

    @property
    def piece(self) -> tuple[int, tuple[int, int]]:
        """What a worker loads for it: stages of the same blocks need no more than one copy."""
        return self.model, self.blocks


class ModelSpec(msgspec.Struct, frozen=True):
    """What the gateway knows of a model. ``pipelines``: planned (batch, device classes) of each."""

    name: str
    slo_us: int
    rate_rps: float
    max_batch: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    executors: tuple[ExecutorKind, ...]

    @property
    def is_emulated(self) -> bool:
        """Whether any stage computes nothing, so that outputs are zeros."""
        return "emulated" in self.executors

    @property
    def is_held(self) -> bool:
        """Whether any stage is held to the table's time, so that speeds are not this machine's own."""
        return self.executors != ("onnxruntime",)


class Limits(msgspec.Struct, frozen=True):
    """Bounds of the gateway: the largest body, the most samples in flight, the longest drain at the end."""

    body_bytes: int = 64 * 2**20
    in_flight: int = 65_536
    drain_us: int = 5_000_000


class ServerSpec(msgspec.Struct, frozen=True):
    """One server. Worker w serves the ``stages`` numbered ``worker_stages[w]``; ``table`` is the plan as arrays.

    ``dispatch_us``: from a decision to the start of its batch; ``overhead_us``: what the server adds to each
    request end to end; the policy's predictions count both. ``journal`` is the file that gets the policy's
    calls; ``policy`` is a rule of :data:`penstock.schedule.rules.RULES`; ``keep_record`` asks for the record's rows.
    """

    models: tuple[ModelSpec, ...]
    stages: tuple[StageSpec, ...]
    worker_stages: tuple[tuple[int, ...], ...]
    table: dict[str, list[Any]]
    limits: Limits = Limits()
    dispatch_us: int = DISPATCH_US
    overhead_us: int = OVERHEAD_US
    journal: str | None = None
    policy: str = "reservation"
    keep_record: bool = False

    def stage_at(self, pipeline: int, place: int) -> StageSpec:
        """The stage at ``place`` of a ``pipeline``, which counts over the plan."""
        first: int = self.table["stage_first"][pipeline]
        return self.stages[first + place]

    def dispatch_table(self) -> DispatchTable:
        """The table for the policy, int64 arrays."""
        return DispatchTable(
            **{name: np.array(values, dtype=np.int64) for name, values in self.table.items()}
        )


def plain_table(table: DispatchTable) -> dict[str, list[Any]]:
    """``table`` as lists, for :class:`ServerSpec`."""
    return {name: values.tolist() for name, values in table._asdict().items()}


def write_spec(spec: ServerSpec, folder: Path) -> None:
    """Leave ``spec`` in the run folder."""
    (folder / _FILE).write_bytes(msgspec.msgpack.encode(spec))


def read_spec(folder: Path) -> ServerSpec:
    """The server's spec from its run folder."""
    return msgspec.msgpack.decode((folder / _FILE).read_bytes(), type=ServerSpec)
