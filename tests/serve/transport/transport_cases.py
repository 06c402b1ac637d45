"""What the tests of transports share."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from penstock.serve.messages import BatchHeader, ToWorker
from penstock.serve.transport import Received, Transport, decoded, read_tensors, tensor_headers

WAIT_S = 5.0
LONGEST_S = 60.0


class Peer:
    """A transport and its inbox, at ``path`` on this host or at ``endpoint``."""

    def __init__(self, transport: Transport, path: Path, endpoint: str | None = None) -> None:
        self.transport = transport
        self.path = path
        self.inbox = transport.listen(endpoint or f"ipc://{path}")
        self.decoder = msgspec.msgpack.Decoder(ToWorker)
        self._senders = []

    @property
    def counts(self):
        """(batches, fallbacks, blocks made) of the links."""
        return tuple(vars(self.transport.counts).values())

    def link_to(self, other):
        other._senders.append(self.transport)
        return self.transport.connect(other.inbox.endpoint)

    def some(self):
        """What has come, after waiting for it. Senders of this process have their turn, as their own loops would."""
        for sender in self._senders:
            sender.flush()
        got = list(self.inbox.waiting())
        if not got:
            has_unsent = any(getattr(sender, "_unsent", None) for sender in self._senders)
            self.inbox.wait(0.01 if has_unsent else WAIT_S)
            got = list(self.inbox.waiting())
        return got


def one(peer: Peer) -> Received:
    """The next message, which must come alone. A wait may end with nothing there, so the time counts, not the waits."""
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        got = peer.some()
        if got:
            (received,) = got
            return received
    raise AssertionError("nothing came")


def parts_of(parts, batch=7):
    """A header and one group of ``parts``, for ``send_batch``."""
    rows = tuple(len(part[0].array) for part in parts)
    known = {"batch": batch, "route": (), "shares": (), "size": sum(rows), "parts": rows}
    required = [field.name for field in msgspec.structs.fields(BatchHeader) if field.required]
    known |= {"tensors": tensor_headers(parts)}
    header = BatchHeader(**{name: known.get(name, 0) for name in required})
    return header, [parts]


def header_of(received: Received) -> BatchHeader:
    return decoded(msgspec.msgpack.Decoder(ToWorker), received.head)


def tensors_of(received: Received):
    return read_tensors(header_of(received), received.frames)
