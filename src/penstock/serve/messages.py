"""What the processes say to each other: one msgpack header, then raw frames where tensors follow.

Nothing here is pickled: a header decodes to one of these types or is refused.
"""

from __future__ import annotations

import msgspec


class Hop(msgspec.Struct, frozen=True, array_like=True):
    """A worker of a route and the endpoint it listens on. A restarted worker has a new endpoint."""

    worker: int
    endpoint: str


class Arrive(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Gateway to dispatcher: a request of ``samples`` units, numbered ``first``, ``first + 1``, ..."""

    model: int
    first: int
    samples: int
    deadline_us: int


class StageDone(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Worker to dispatcher: a batch left a stage; times as in :class:`penstock.record.Batches`.

    ``pipeline`` counts over the plan, ``stage`` within the pipeline.
    """

    batch: int
    pipeline: int
    stage: int
    worker: int
    size: int
    queued_us: int
    start_us: int
    end_us: int
    transfer_us: int


class StageFailed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Worker to dispatcher: the executor refused a batch."""

    batch: int
    worker: int
    message: str


class Assign(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Dispatcher to gateway: send these units, in this order, as one batch along ``route``."""

    batch: int
    pipeline: int
    units: tuple[int, ...]
    route: tuple[Hop, ...]


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Dispatcher to gateway: the policy gave ``unit`` up; ``cause`` is a code of :class:`Outcome`."""

    unit: int
    cause: int


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Dispatcher to gateway: these batches will not come back.

    ``worker`` >= 0: it went down, so neither will what it had sent but the gateway did not get.
    """

    batches: tuple[int, ...]
    worker: int
    message: str


class Readiness(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Dispatcher to gateway: whether each model has a whole pipeline; how many workers can serve each stage."""

    models: tuple[bool, ...]
    workers_up: tuple[int, ...]


class TensorHeader(msgspec.Struct, frozen=True, array_like=True):
    """A tensor of a batch in raw frames, one frame for each part; ``shape`` is the whole tensor's."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class BatchHeader(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """To a worker, and with ``stage == len(route)`` to the gateway: a batch and its tensors.

    ``pipeline``, over the plan, and ``stage`` within it say what is to run: a worker may hold several stages.
    Tensor after tensor, each in ``len(parts)`` frames; of several parts, part p holds ``parts[p]`` leading
    rows. ``compute_us`` adds up the stages' execution so far.
    """

    batch: int
    pipeline: int
    route: tuple[Hop, ...]
    stage: int
    size: int
    sent_us: int
    compute_us: int
    parts: tuple[int, ...]
    tensors: tuple[TensorHeader, ...]


ToDispatcher = Arrive | StageDone | StageFailed
ToGateway = Assign | Dropped | Failed | Readiness | BatchHeader
