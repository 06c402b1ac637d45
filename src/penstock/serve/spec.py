"""The spec: what the processes of one server need to know, as plain values made from a plan once.

The supervisor writes it to the run folder; gateway, dispatcher and workers read it. So none of them loads
plans, profiles or graphs, and a worker starts fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from penstock.errors import BadInputError
from penstock.runtime.settings import RuntimeSettings
from penstock.schedule.rule_numbers import DEFAULT_POLICY
from penstock.schedule.table import DispatchTable
from penstock.serve.devices import DeviceNeed, WorkerDevice
from penstock.serve.listen.options import ListenOptions
from penstock.serve.observe.traces import TraceOptions
from penstock.serve.protocol.raw import Array

ExecutorKind = Literal["onnxruntime", "torch", "padded", "emulated"]
TransportName = Literal["shared-memory", "zeromq"]
HELD: frozenset[ExecutorKind] = frozenset({"padded", "emulated"})
PADDED_NICENESS = 10
"""A padded worker has time to spare, and stands for a device that would not use the cores of this machine. So it runs
when the workers that are not slowed down leave a core free."""

# Measured by benchmarks/serve.py on two shared cores: a request takes 1.1 to 1.8 ms more than its stages
# (medians; 24 B to 147 KiB, one and two stages), up to 3.0 ms at the 99th percentile; about 0.3 ms pass
# until the first stage has the batch.
DISPATCH_US = 300
OVERHEAD_US = 3_000


class TensorSpec(msgspec.Struct, frozen=True):
    """A tensor by its protocol datatype; ``shape`` has -1 for the batch, which is the first axis of most tensors.

    It may be another axis ([time, batch, channels]), or none: then all samples of a batch share the tensor (a sample
    rate). ``rows`` is what a sample adds to the batch axis: more than 1 if the batch is merged with another axis.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    rows: int = 1

    @property
    def axis(self) -> int | None:
        """The axis of the batch; None if the tensor has none."""
        return self.shape.index(-1) if -1 in self.shape else None

    @property
    def is_batched(self) -> bool:
        """Whether the first length, and no other, is the number of samples."""
        return self.axis == 0 and self.rows == 1 and -1 not in self.shape[1:]

    def shape_of(self, samples: int) -> tuple[int, ...]:
        """The shape for a batch of ``samples``."""
        return tuple(samples * self.rows if length == -1 else length for length in self.shape)

    def part(self, array: Array, first: int, samples: int) -> Array:
        """The part of ``array`` that belongs to ``samples`` samples from ``first``: a view. All, without a batch."""
        if self.axis is None:
            return array
        cut = slice(first * self.rows, (first + samples) * self.rows)
        part: Array = array[(slice(None),) * self.axis + (cut,)]
        return part


class SegmentSpec(msgspec.Struct, frozen=True):
    """A part of a stage that runs without a stop; names of tensors, and its time for one sample.

    ``model_file`` is None if nothing is computed.
    """

    computed: tuple[str, ...]
    forwarded: tuple[str, ...]
    latency_us: int
    model_file: str | None = None


class DeviceSharing(msgspec.Struct, frozen=True):
    """How every device of a scheduled plan is run: names of :mod:`penstock.schedule.device`.

    ``threads``: segments at once on a device.
    """

    order: str
    late: str
    miss_budget: float | None = None
    threads: int = 1


class StageSpec(msgspec.Struct, frozen=True):
    """What runs in one stage: ``blocks`` [start, stop) of a model.

    ``inputs`` arrive with a batch, ``computed`` come from the executor, ``forwarded`` are inputs that later
    stages need. ``latency_us[n]`` is the profile's time for a batch of n, up to the largest that a worker gets: a piece
    if the stage is split; index 0 is unused.
    ``runtime``: the device, precision and mode of an executor that computes. ``segments``: where a scheduled device
    may stop. ``device_class`` and ``share`` (1/n of a device) name the pool to people.
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
    runtime: RuntimeSettings = RuntimeSettings()
    segments: tuple[SegmentSpec, ...] = ()
    device_class: str = ""
    share: int = 1

    @property
    def piece(self) -> tuple[int, tuple[int, int]]:
        """What a worker loads for it. Stages of the same blocks have the same piece, so a worker loads it once."""
        return self.model, self.blocks


class ModelSpec(msgspec.Struct, frozen=True):
    """What the gateway knows of a model. ``least_us``: the profile's time of one sample on its fastest pipeline.

    ``name`` is the plan's. Clients ask for ``version`` of ``serve_as``, if that is not empty, else of ``name``.
    """

    name: str
    slo_us: int
    rate_rps: float
    max_batch: int
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    executors: tuple[ExecutorKind, ...]
    least_us: int = 0
    serve_as: str = ""
    version: int = 1

    @property
    def public_name(self) -> str:
        """The name that clients use."""
        return self.serve_as or self.name

    @property
    def is_emulated(self) -> bool:
        """Whether any stage computes nothing, so that outputs are zeros."""
        return "emulated" in self.executors

    @property
    def is_held(self) -> bool:
        """Whether any stage is slowed down to the time of the table, so that speeds are not those of this machine."""
        return not HELD.isdisjoint(self.executors)


class Limits(msgspec.Struct, frozen=True):
    """Bounds of the gateway: the largest body, the most samples in flight, the longest drain at the end.

    ``samples``: the most in one request.
    """

    body_bytes: int = 64 * 2**20
    in_flight: int = 65_536
    drain_us: int = 5_000_000
    samples: int = 4_096


class ServerSpec(msgspec.Struct, frozen=True):
    """One server. Worker w serves the ``stages`` numbered ``worker_stages[w]``; ``table`` is the plan as arrays.

    ``dispatch_us``: from a decision to the start of its batch; ``overhead_us``: what the server adds to each
    request end to end; the policy's predictions count both. ``journal`` is the file that gets the policy's
    calls; ``policy`` is a rule of :data:`penstock.schedule.rule_numbers.RULES`, or ``least-work`` if ``device``
    says how devices take turns: then a worker is a device. No head of a queue waits longer than
    ``max_queue_delay_us`` for company, if that is set. ``doubts``: by model, what a client whose request is dropped
    should know of the model's latencies; empty if there is nothing. ``rows`` is the folder that gets the rows of the
    record.
    ``worker_devices``: the real device of each worker, None if it needs none; empty while only ``device_needs`` are
    known, because the hosts choose. ``plan`` is the plan's file.

    ``epoch`` counts the plans that one server served one after the other. Workers are numbered over all epochs:
    those of this one from ``first_worker``. ``transport``: how tensors go between processes of a host. ``traces``:
    where spans of requests go, if anywhere. ``worker_hosts``: the plan's host of each worker, as CLASS:NUMBER.
    """

    models: tuple[ModelSpec, ...]
    stages: tuple[StageSpec, ...]
    worker_stages: tuple[tuple[int, ...], ...]
    table: dict[str, list[Any]]
    limits: Limits = Limits()
    dispatch_us: int = DISPATCH_US
    overhead_us: int = OVERHEAD_US
    journal: str | None = None
    policy: str = DEFAULT_POLICY
    max_queue_delay_us: int | None = None
    doubts: tuple[str, ...] = ()
    rows: str | None = None
    device: DeviceSharing | None = None
    worker_devices: tuple[WorkerDevice | None, ...] = ()
    device_needs: tuple[DeviceNeed | None, ...] = ()
    plan: str | None = None
    listen: ListenOptions = ListenOptions()
    epoch: int = 0
    first_worker: int = 0
    traces: TraceOptions | None = None
    transport: TransportName = "zeromq"
    worker_hosts: tuple[str, ...] = ()

    @property
    def workers(self) -> range:
        """The numbers of the workers."""
        return range(self.first_worker, self.first_worker + len(self.worker_stages))

    def stages_of(self, worker: int) -> tuple[int, ...]:
        """The stages that ``worker`` serves."""
        return self.worker_stages[worker - self.first_worker]

    def device_of(self, worker: int) -> WorkerDevice | None:
        """The real device of ``worker``, if it has one."""
        return self.worker_devices[worker - self.first_worker] if self.worker_devices else None

    def niceness_of(self, worker: int) -> int:
        """What is added to the niceness of the process of ``worker``, from its start on."""
        is_padded = any(self.stages[stage].executor == "padded" for stage in self.stages_of(worker))
        return PADDED_NICENESS if is_padded else 0

    def workers_on(self, host: str) -> list[int]:
        """The workers that the plan has on ``host``."""
        return [worker for worker, its in zip(self.workers, self.worker_hosts, strict=True) if its == host]

    def devices_on(self, host: str) -> frozenset[str]:
        """The real devices that workers on ``host`` need, as ``penstock replan --lost`` names them."""
        needs = zip(self.worker_hosts, self.device_needs, strict=bool(self.device_needs))
        return frozenset(need.in_plan for its, need in needs if its == host and need is not None)

    def stage_at(self, pipeline: int, place: int) -> StageSpec:
        """The stage at ``place`` of a ``pipeline``, which counts over the plan.

        Raises :class:`BadInputError` if the plan has no such stage.
        """
        offsets: list[int] = self.table["stage_offsets"]
        if not (0 <= pipeline < len(offsets) - 1 and 0 <= place < offsets[pipeline + 1] - offsets[pipeline]):
            raise BadInputError(
                f"stage (={place}) of pipeline (={pipeline}) is not in the plan. Is the message from another server?"
            )
        return self.stages[offsets[pipeline] + place]

    def dispatch_table(self) -> DispatchTable:
        """The table for the policy, int64 arrays."""
        return DispatchTable(
            **{name: np.array(values, dtype=np.int64) for name, values in self.table.items()}
        )


def default_transport() -> TransportName:
    """The faster one that this system has, for processes of one host."""
    return "shared-memory" if sys.platform.startswith("linux") else "zeromq"


def plain_table(table: DispatchTable) -> dict[str, list[Any]]:
    """``table`` as lists, for :class:`ServerSpec`."""
    return {name: values.tolist() for name, values in table._asdict().items()}


def write_spec(spec: ServerSpec, folder: Path) -> None:
    """Leave ``spec`` in the run folder, whole or not at all."""
    path = _file_of(folder, spec.epoch)
    unfinished = path.with_suffix(".part")
    unfinished.write_bytes(msgspec.msgpack.encode(spec))
    unfinished.rename(path)


def read_spec(folder: Path, epoch: int = 0) -> ServerSpec:
    """The spec of ``epoch`` from its run folder."""
    return msgspec.msgpack.decode(_file_of(folder, epoch).read_bytes(), type=ServerSpec)


def last_epoch(folder: Path) -> int:
    """The latest epoch of which there is a spec in the run folder."""
    return max(int(path.stem.removeprefix("server-")) for path in folder.glob("server-*.msgpack"))


def _file_of(folder: Path, epoch: int) -> Path:
    return folder / f"server-{epoch}.msgpack"
