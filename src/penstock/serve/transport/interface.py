"""What a process of the server needs of a transport.

A process listens at one endpoint and opens a link to each peer. Small messages and batches of tensors go over the same
link. A link never blocks and never loses a message while its peer lives; nothing is ever unpickled. The links of one
transport that send batches belong to one thread, its inbox to one thread, which may be another one, and a link that
sends small messages only to any one thread.

Order: what a link sent is received in that order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from penstock.serve.messages import BatchHeader
from penstock.serve.protocol.infer import Tensor
from penstock.serve.transport.wire import Buffer

Parts = Sequence[Sequence[Tensor]]
"""A group of a batch, in parts: each has the same tensors in the same order."""


class Received(NamedTuple):
    """A message that came, encoded; ``frames`` are the raw tensors of a batch.

    Frames may lie in the sender's memory. They stay as they are until the last array or view of them is gone; then the
    sender uses that memory again. So do not keep them longer than needed.
    """

    head: Buffer
    frames: Sequence[memoryview]


@dataclass
class TransportCounts:
    """What the links of one process did. ``fallbacks``: batches for which shared memory had no room or no way.

    ``blocks_made`` counts allocations of shared memory. Once warm it stays the same.
    """

    batches: int = 0
    fallbacks: int = 0
    blocks_made: int = 0


class Inbox(Protocol):
    """Where a process receives."""

    @property
    def endpoint(self) -> str:
        """The address for peers; if port 0 was asked for, with the real port."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable when something may have come, for ``select`` and event loops."""
        ...

    def wait(self, timeout_s: float | None = None) -> None:
        """Sleep until something may have come."""
        ...

    @property
    def patience_s(self) -> float | None:
        """The longest sleep before :meth:`waiting` must be called again even if nothing comes; None: any."""
        ...

    def waiting(self) -> Iterator[Received]:
        """Messages that are there, without blocking, and some from each peer that sent any.

        Take all of them: the descriptor may only tell of changes. If there are more, it tells so.
        """
        ...

    def close(self) -> None:
        """Receive nothing more."""
        ...


class Link(Protocol):
    """The way to one peer."""

    def send(self, message: msgspec.Struct) -> None:
        """Queue a small message."""
        ...

    def send_batch(self, header: BatchHeader, groups: Sequence[Parts]) -> None:
        """Queue a batch; ``header`` describes ``groups``. The arrays must not change afterwards.

        A transport may join the parts of each group on the way; then the receiver gets a header that says so.
        """
        ...

    def close(self) -> None:
        """Send nothing more; what is queued may be lost."""
        ...


class Transport(Protocol):
    """Makes the inbox and the links of one process."""

    @property
    def counts(self) -> TransportCounts:
        """What its links did so far."""
        ...

    def listen(self, endpoint: str) -> Inbox:
        """The inbox at ``endpoint``."""
        ...

    def connect(self, endpoint: str) -> Link:
        """A link to the process that listens at ``endpoint``, now or soon."""
        ...

    def flush(self) -> None:
        """Send what could not be sent, as far as that can be done now. A look into the inbox does this too."""
        ...

    def close(self) -> None:
        """Close every link. What is queued and not on its way is lost."""
        ...


def least(first: float | None, second: float | None) -> float | None:
    """The shorter one of two times, each None if there is no limit."""
    return min((one for one in (first, second) if one is not None), default=None)
