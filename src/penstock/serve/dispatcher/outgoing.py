"""What the dispatcher wants said, and to whom."""

from __future__ import annotations

from typing import NamedTuple

from penstock.serve.control import Drained, WorkerHung, WorkerSilent
from penstock.serve.messages import (
    Assign,
    BatchDropped,
    Cancelled,
    DispatcherUp,
    Dropped,
    Failed,
    GatewayGone,
    Ping,
    Readiness,
)

EVERY = -1
"""The number for all gateways, or all workers that are up."""


class ForGateway(NamedTuple):
    """A message for a gateway."""

    gateway: int
    message: DispatcherUp | Assign | Dropped | Cancelled | Failed | BatchDropped | Readiness


class ForWorker(NamedTuple):
    """A message for a worker."""

    worker: int
    message: Ping | GatewayGone


class ForEngine(NamedTuple):
    """A message for the supervisor."""

    message: WorkerSilent | WorkerHung | Drained


Messages = list[ForGateway | ForWorker | ForEngine]
