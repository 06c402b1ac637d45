"""The messages between the processes: one msgpack header, then raw frames if tensors follow.

Nothing is pickled: a header decodes to one of these types, or is refused.

Numbers. A *unit* is one sample of a request; its number is made of the number of its gateway and a sequence, and the
policy does not look inside. A batch's number is made in the same way by its dispatcher. Each start of a gateway or a
dispatcher gets a new number, so no unit and no batch is ever confused with one of a process that died. An *epoch* is a
plan that is served; ``model`` and ``pipeline`` count within it, workers count over all epochs.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

import msgspec

from penstock.units import NEVER_US

Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
"""Any integer that an array can hold: msgpack knows larger ones."""


SEQUENCE_BITS = 40
"""A process can number 10^12 units; 2^23 processes can be started."""


def numbered(owner: int, sequence: int) -> int:
    """The number of the ``sequence``-th unit of gateway ``owner``, or batch of dispatcher ``owner``."""
    return owner << SEQUENCE_BITS | sequence


def owner_of(number: int) -> int:
    """The gateway of a unit, or the dispatcher of a batch."""
    return number >> SEQUENCE_BITS


class RouteStep(msgspec.Struct, frozen=True, array_like=True):
    """A worker of a route and the endpoint it listens on. A restarted worker has a new endpoint."""

    worker: Int64
    endpoint: str


class Share(msgspec.Struct, frozen=True, array_like=True):
    """The rows of a batch that come from one gateway and go back to it, to the endpoint it listens on.

    Shares follow each other in a batch. A restarted gateway has a new number and a new endpoint.
    """

    gateway: Int64
    rows: Int64
    endpoint: str


class Arrive(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """Gateway to dispatcher: units ``first``, ``first + 1``, ... (``samples`` of them) of a request wait.

    ``request`` is the number of the request's first unit. Told again, with the units that are left, if a batch was
    lost. ``alone``: these units may share a batch only with units of their own request. ``dispatcher``: the one that
    is meant; another one ignores the message.
    """

    dispatcher: Int64
    epoch: Int64
    model: Int64
    request: Int64
    first: Int64
    samples: Int64
    deadline_us: Int64
    alone: bool = False


class Cancel(msgspec.Struct, frozen=True, array_like=True, tag=12):
    """Gateway to dispatcher: the units of ``request`` that still wait need not run. The answer is ``Cancelled``."""

    dispatcher: Int64
    request: Int64


class StageDone(msgspec.Struct, frozen=True, array_like=True, tag=2):
    """Worker to dispatcher: a batch left a stage; times as in :class:`penstock.record.Batches`.

    ``pipeline`` counts over the plan of ``epoch``, ``stage`` within the pipeline. If the stage is split, each piece
    of it is reported, and ``size`` is that of the piece.
    """

    epoch: Int64
    batch: Int64
    pipeline: Int64
    stage: Int64
    worker: Int64
    size: Int64
    queued_us: Int64
    start_us: Int64
    end_us: Int64
    transfer_us: Int64
    piece: Int64 = 0


class StageFailed(msgspec.Struct, frozen=True, array_like=True, tag=3):
    """Worker to dispatcher: the executor refused a batch, or (``is_incomplete``) a part of it never came."""

    batch: Int64
    worker: Int64
    message: str
    is_incomplete: bool = False


class StageDropped(msgspec.Struct, frozen=True, array_like=True, tag=9):
    """Worker to dispatcher: its device's policy gave a batch up; ``cause`` is a code of :class:`Outcome`."""

    batch: Int64
    worker: Int64
    cause: Int64


class Pong(msgspec.Struct, frozen=True, array_like=True, tag=13):
    """Worker to dispatcher: the answer to ``Ping``.

    ``held``: batches that the worker has not finished; ``running_since_us``: when the one that runs began, -1 if none
    does; ``waited_us``: for how long a thread of the worker waited for a core since the first ping in that run.
    """

    worker: Int64
    held: Int64
    running_since_us: Int64
    waited_us: Int64 = 0


class DispatcherUp(msgspec.Struct, frozen=True, array_like=True, tag=14):
    """Dispatcher to gateway, first of all: tell ``dispatcher`` from now on, and first of all what waits."""

    dispatcher: Int64


class Assign(msgspec.Struct, frozen=True, array_like=True, tag=4):
    """Dispatcher to gateway: send these units, in this order, as this gateway's share of a batch along ``route``.

    ``end_us``: when the batch is predicted to leave its last stage. ``pieces`` as in :class:`Split`, () if no stage is
    split.
    """

    epoch: Int64
    batch: Int64
    pipeline: Int64
    units: tuple[Int64, ...]
    route: tuple[RouteStep, ...]
    shares: tuple[Share, ...]
    end_us: Int64
    pieces: tuple[tuple[Int64, ...], ...] = ()


class Dropped(msgspec.Struct, frozen=True, array_like=True, tag=5):
    """Dispatcher to gateway: the policy dropped ``unit``; ``cause`` is a code of :class:`Outcome`.

    No unit of its request waits any more. If it comes from a ``dispatcher`` that died meanwhile, it is ignored, as is
    every message that says what waits.
    """

    dispatcher: Int64
    unit: Int64
    cause: Int64


class Cancelled(msgspec.Struct, frozen=True, array_like=True, tag=17):
    """Dispatcher to gateway: no unit of ``request`` waits any more, because the gateway asked for that."""

    dispatcher: Int64
    request: Int64


class Again(IntEnum):
    """What becomes of the requests of a lost batch."""

    TOGETHER = 0
    """They wait again: the batch is not to blame."""
    ALONE = 1
    """They wait again, each for a batch of its own: one of them may be to blame."""
    NEVER = 2
    """They are answered with the error."""


class Failed(msgspec.Struct, frozen=True, array_like=True, tag=6):
    """Dispatcher to gateway: these batches will not come back, and if they do, they do not count.

    ``worker`` >= 0: this worker went down, so results that it sent and that the gateway did not get are lost too.
    """

    batches: tuple[Int64, ...]
    worker: Int64
    message: str
    again: Again


class BatchDropped(msgspec.Struct, frozen=True, array_like=True, tag=10):
    """Dispatcher to gateway: a device's policy gave up a batch that was sent to it."""

    batch: Int64
    cause: Int64


class CancelBatch(msgspec.Struct, frozen=True, array_like=True, tag=11):
    """To a worker: nobody waits for this batch any more.

    A gateway tells scheduled workers. The dispatcher tells those that have, or will get, a part of a split batch.
    """

    batch: Int64


class Ping(msgspec.Struct, frozen=True, array_like=True, tag=15):
    """Dispatcher to worker: answer with ``Pong`` at once, also while a batch runs."""


class GatewayGone(msgspec.Struct, frozen=True, array_like=True, tag=16):
    """Dispatcher to worker: the process of this gateway ended. Nothing more comes from it, and it wants no result."""

    gateway: Int64


class Readiness(msgspec.Struct, frozen=True, array_like=True, tag=7):
    """Dispatcher to gateway: ``epoch`` is served from now on, and whether each of its models has a whole pipeline."""

    dispatcher: Int64
    epoch: Int64
    models: tuple[bool, ...]


class TensorHeader(msgspec.Struct, frozen=True, array_like=True):
    """A tensor of a group in raw frames, one frame for each part; ``shape`` is that of the whole group.

    Parts are joined along ``axis``. With -1 all parts hold the same tensor.
    """

    name: str
    datatype: str
    shape: tuple[Int64, ...]
    axis: Int64 = 0


class StageTiming(msgspec.Struct, frozen=True, array_like=True):
    """When a traced batch, or a piece of it, was in a stage; times and size as in :class:`StageDone`."""

    worker: Int64
    size: Int64
    queued_us: Int64
    start_us: Int64
    end_us: Int64
    transfer_us: Int64
    stage: Int64
    piece: Int64 = 0


class Split(msgspec.Struct, frozen=True, array_like=True):
    """How a batch is split: ``pieces`` are the rows of each piece of each stage.

    A message to a worker is for ``piece`` of its stage. If it is not from a gateway, ``sender`` is the piece of the
    stage before that sends it. A message to a gateway is from ``sender``, a piece of the last stage.
    """

    pieces: tuple[tuple[Int64, ...], ...]
    piece: Int64 = 0
    sender: Int64 = 0


class BatchHeader(msgspec.Struct, frozen=True, array_like=True, tag=8):
    """To a worker, and with ``stage == len(route)`` to a gateway: a batch, or one gateway's share, and its tensors.

    ``pipeline``, over the plan of ``epoch``, and ``stage`` within it say what is to run: a worker may hold several
    stages. ``shares`` are those of the whole batch. ``size``: the samples of this message: those of the whole batch
    between workers, and those of ``gateway``'s share between it and a worker. A message is one or more groups of
    samples. The samples of a group share the tensors that have no batch (a sample rate), and run together. Group after
    group, and in each tensor after tensor, each in as many frames as the group has parts. Part p holds ``parts[p]``
    samples. ``groups`` counts the parts of each group; () is one group. ``compute_us`` adds up the stages' execution so
    far. ``deadline_us`` is the earliest of its requests, on the clock of this host; a scheduled worker orders by it.
    ``fallbacks``: hops so far that were meant for shared memory and went another way. If ``is_traced``, each worker
    adds its stage to ``timings``.

    ``split`` is None if no stage of the batch is split. Else ``route`` has a step for each piece, stage after stage,
    and a message holds some rows of one piece: those that its sender has.
    """

    epoch: Int64
    batch: Int64
    pipeline: Int64
    route: tuple[RouteStep, ...]
    stage: Int64
    shares: tuple[Share, ...]
    gateway: Int64
    size: Int64
    sent_us: Int64
    compute_us: Int64
    parts: tuple[Int64, ...]
    tensors: tuple[TensorHeader, ...]
    deadline_us: int = NEVER_US
    groups: tuple[Int64, ...] = ()
    fallbacks: Int64 = 0
    is_traced: bool = False
    timings: tuple[StageTiming, ...] = ()
    split: Split | None = None


ALL_SHARES = -1
"""The ``gateway`` of a header whose message holds the whole batch."""

ToDispatcher = Arrive | Cancel | StageDone | StageFailed | StageDropped | Pong
ToGateway = DispatcherUp | Assign | Dropped | Cancelled | Failed | BatchDropped | Readiness | BatchHeader
ToWorker = BatchHeader | CancelBatch | Ping | GatewayGone
