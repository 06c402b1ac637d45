"""What the head and the agents of hosts say to each other: msgpack, never pickled."""

from __future__ import annotations

import msgspec

from penstock.serve.control import ControlMessage, WorkerCouldRun, WorkerUp
from penstock.serve.engine.elsewhere import GatewayEnded, GatewaySaid
from penstock.serve.engine.worker_keeper import WorkerEnded


class Hello(msgspec.Struct, frozen=True, tag=True):
    """From an agent, first of all. ``files``: what it has of sub-models, as EPOCH/NAME, with the bytes."""

    host: str
    version: str
    files: dict[str, int]


class Refused(msgspec.Struct, frozen=True, tag=True):
    """To an agent: it cannot take part, for this reason, and ends."""

    message: str


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """To an agent: it takes part. ``port``: the dispatcher's at ``head``,
    :class:`~penstock.serve.transport.endpoints.Place`. ``rows``: the bytes that the head has of the host's files of
    rows.
    """

    head: str
    port: int
    rows: dict[str, int] = {}


class FilePart(msgspec.Struct, frozen=True, tag=True):
    """To an agent: the next bytes of the file EPOCH/NAME for its run folder; the last part ends it."""

    name: str
    data: bytes
    is_last: bool


class AddPlan(msgspec.Struct, frozen=True, tag=True):
    """To an agent: start these workers, a few at a time if ``is_gentle``; there may be none on a host of gateways.

    ``spec``: the server's spec, whose files were sent before, by name: sub-models, and what gateways need.
    """

    spec: bytes
    workers: tuple[int, ...]
    is_gentle: bool = False


class EndPlan(msgspec.Struct, frozen=True, tag=True):
    """To an agent: the workers of this epoch have nothing more to do."""

    epoch: int


class WatchWorker(msgspec.Struct, frozen=True, tag=True):
    """To an agent: this worker does not answer; say if it could (:class:`~penstock.serve.control.WorkerCouldRun`)."""

    worker: int


class ReplaceWorker(msgspec.Struct, frozen=True, tag=True):
    """To an agent: this worker hangs."""

    worker: int
    why: str


class StartGateway(msgspec.Struct, frozen=True, tag=True):
    """To an agent: start gateway ``gateway``, for the plan of ``epoch``, at the host's own address.

    The ports are those of HTTP and gRPC: 0 takes a free one, and None means no gRPC.
    """

    gateway: int
    epoch: int
    http_port: int
    grpc_port: int | None


class TellGateway(msgspec.Struct, frozen=True, tag=True):
    """To an agent: pass this on to a gateway."""

    gateway: int
    message: ControlMessage


class RowsPart(msgspec.Struct, frozen=True, tag=True):
    """From an agent: the next bytes of a file of rows of a gateway; ``offset`` is where they belong."""

    name: str
    offset: int
    data: bytes


class CountersPart(msgspec.Struct, frozen=True, tag=True):
    """From or to an agent: counters of a process of the sender's host, or of others, as they are now."""

    name: str
    content: bytes


class DevicesLost(msgspec.Struct, frozen=True, tag=True):
    """From an agent: all devices of its host that are lost now, as ``penstock replan --lost`` names them."""

    devices: tuple[str, ...]


class EndAgent(msgspec.Struct, frozen=True, tag=True):
    """To an agent: end all gateways and workers, then yourself."""


class AgentNote(msgspec.Struct, frozen=True, tag=True):
    """From an agent: for people."""

    text: str


class ClockAsked(msgspec.Struct, frozen=True, tag=True):
    """From an agent, with the time there."""

    agent_us: int


class ClockTold(msgspec.Struct, frozen=True, tag=True):
    """To an agent: what it asked, and the time at the head when that came."""

    agent_us: int
    head_us: int


class ListenForProbe(msgspec.Struct, frozen=True, tag=True):
    """To an agent: count what another host sends; say where first (:class:`ProbeListening`)."""


class SendProbe(msgspec.Struct, frozen=True, tag=True):
    """To an agent: send to ``endpoint`` of another host for ``us``."""

    endpoint: str
    us: int


class ProbeListening(msgspec.Struct, frozen=True, tag=True):
    """From an agent: it counts at ``endpoint``."""

    endpoint: str


class ProbeMeasured(msgspec.Struct, frozen=True, tag=True):
    """From an agent: ``size`` bytes came in ``us``."""

    size: int
    us: int


class Beat(msgspec.Struct, frozen=True, tag=True):
    """From either, if it had nothing else to say for a while."""


FromAgent = (
    Hello
    | WorkerUp
    | WorkerCouldRun
    | WorkerEnded
    | DevicesLost
    | GatewaySaid
    | GatewayEnded
    | RowsPart
    | CountersPart
    | AgentNote
    | ClockAsked
    | ProbeListening
    | ProbeMeasured
    | Beat
)
FromHead = (
    Refused
    | Welcome
    | FilePart
    | AddPlan
    | EndPlan
    | WatchWorker
    | ReplaceWorker
    | StartGateway
    | TellGateway
    | CountersPart
    | EndAgent
    | ClockTold
    | ListenForProbe
    | SendProbe
    | Beat
)
