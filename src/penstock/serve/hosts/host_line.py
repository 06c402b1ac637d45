"""A line between the head and an agent: TCP, frames of a length, an encrypted message and its authentication.

Each side first sends 32 random bytes. From those of both and the secret of the run follow two keys for each direction,
one to encrypt and one to prove (the two-step derivation of RFC 5869). A frame is the length of the message (4 bytes),
the message, and HMAC-SHA256 over the number of the frame and the encrypted message. So a peer without the secret is
not heard, nothing can be replayed or left out, and nothing is read that was not proven: a length is bounded before.

A message is encrypted by exclusive or with SHAKE256 of the key and the number of the frame, which is never used again
(FIPS 202: with a secret key in front, its output cannot be told from random bits). CURVE of ZeroMQ, which tensors use,
does not say at once that a peer is gone, and the standard library has no TLS without certificates before Python 3.13.
Who gets the keys of a run later can read what was recorded of its lines.

A line has a thread that sends, so that neither a slow peer nor a large file blocks its owner. If there is nothing to
send for :data:`BEAT_S`, it sends a beat. So silence means that the way to the peer is cut, or that its process does not
run: it is stopped, or has no core. The system tells these apart: TCP of a host that lives acknowledges what comes, even
if nobody reads it. A peer whose host acknowledges is given up later, because to give it up costs all that it holds.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import queue
import socket
import struct
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Generic, TypeVar, final

import msgspec

from penstock.clock import MonotonicClock
from penstock.errors import BadInputError
from penstock.serve.hosts.agent_messages import Beat
from penstock.serve.transport.curve import CurveKeys
from penstock.units import US_PER_S

BEAT_S = 0.2
SILENCE_US = 2 * US_PER_S
"""A peer that was silent for so long is given up, if its host does not acknowledge what it gets."""
BUSY_US = 10 * US_PER_S
"""...and if its host does, after this time; but not a stranger, who has not proven to be of the run."""
NONCE_BYTES = 32
MAC_BYTES = 32
MOST_BYTES = 64 * 2**20
"""The longest message; files go in parts."""
MOST_BYTES_AT_FIRST = 2**20
"""The longest first message, when nobody has proven anything."""
_LENGTH = struct.Struct("<I")
_TCP_INFO = struct.Struct("=xxB21xI")
"""The beginning of Linux's ``struct tcp_info`` (linux/tcp.h): tcpi_retransmits and tcpi_unacked."""
_NUMBER = struct.Struct("<Q")
M = TypeVar("M")


def secret_of(keys: CurveKeys) -> bytes:
    """The secret of the lines of a run: who has its keys has it too."""
    return hashlib.sha256(f"{keys.listener_secret}{keys.sender_secret}".encode()).digest()


@final
class Seal:
    """Encrypts and authenticates the frames of one direction; each frame has the next number."""

    def __init__(self, secret: bytes, direction: bytes, head_nonce: bytes, agent_nonce: bytes) -> None:
        key = hmac.digest(secret, direction + head_nonce + agent_nonce, hashlib.sha256)
        self._encrypt = hmac.digest(key, b"encrypt\x01", hashlib.sha256)
        self._prove = hmac.digest(key, b"prove\x01", hashlib.sha256)
        self._number = 0

    def sealed(self, body: bytes) -> bytes:
        """The next frame without its length: ``body`` encrypted, and its proof."""
        self._number += 1
        hidden = self._hidden(body)
        return hidden + self._proof(hidden)

    def opened(self, hidden: bytes, proof: bytes) -> bytes | None:
        """What is in the next frame; None if the peer does not have the secret, or this is not the next frame."""
        self._number += 1
        return self._hidden(hidden) if hmac.compare_digest(proof, self._proof(hidden)) else None

    def _hidden(self, body: bytes) -> bytes:
        key = self._encrypt + _NUMBER.pack(self._number)
        stream = hashlib.shake_256(key).digest(len(body))
        return (int.from_bytes(body) ^ int.from_bytes(stream)).to_bytes(len(body))

    def _proof(self, hidden: bytes) -> bytes:
        return hmac.digest(self._prove, _NUMBER.pack(self._number) + hidden, hashlib.sha256)


@final
class HostLine(Generic[M]):
    """One end. ``decoder`` reads what the peer may say. :attr:`heard_us`: when something came last."""

    def __init__(
        self, end: socket.socket, secret: bytes, decoder: msgspec.msgpack.Decoder[M], *, is_head: bool
    ) -> None:
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._end = end
        self._secret = secret
        self._decoder = decoder
        self._is_head = is_head
        self._clock = MonotonicClock()
        self._nonce = os.urandom(NONCE_BYTES)
        self._received = bytearray()
        self._incoming: Seal | None = None
        self._outgoing: Seal | None = None
        self._keyed = threading.Event()
        self._is_closed = False
        self._is_proven = False
        self._queue: queue.SimpleQueue[msgspec.Struct | Iterable[msgspec.Struct] | None] = queue.SimpleQueue()
        self.heard_us = self._clock.now_us()
        self._thread = threading.Thread(target=self._send_all, name="host-line", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """For ``select``."""
        return self._end.fileno()

    @property
    def is_proven(self) -> bool:
        """Whether the peer has said something, and so proven that it belongs to the run."""
        return self._is_proven

    def send(self, *messages: msgspec.Struct | Iterable[msgspec.Struct]) -> None:
        """Queue messages, or what makes them one by one when it is their turn."""
        for message in messages:
            self._queue.put(message)

    def receive(self) -> list[M] | None:
        """The messages that came, without beats; None if the peer is gone.

        Raises :class:`BadInputError` if it does not prove that it belongs to the run.
        """
        try:
            data = self._end.recv(2**18)
        except BlockingIOError:
            return []
        except OSError:
            return None
        if not data:
            return None
        self.heard_us = self._clock.now_us()
        self._received += data
        return [message for message in self._messages() if not isinstance(message, Beat)]

    def silent_us(self, now_us: int) -> int | None:
        """For how long the peer has been silent, if it is to be given up at ``now_us``; else None."""
        silent_us = now_us - self.heard_us
        if silent_us <= SILENCE_US:
            return None
        return silent_us if silent_us > BUSY_US or not self._is_proven or self._is_cut() else None

    def _is_cut(self) -> bool:
        """Whether the peer's host does not acknowledge what was sent; also if the system does not say."""
        if not hasattr(socket, "TCP_INFO"):
            return True
        try:
            told = self._end.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        except OSError:
            return True
        retransmitted, unacknowledged = _TCP_INFO.unpack(told)
        return bool(retransmitted and unacknowledged)

    def close(self, timeout_s: float = 0.0) -> None:
        """End the line, after what is queued if that takes no longer than ``timeout_s``."""
        self._queue.put(None)
        if timeout_s:
            self._thread.join(timeout_s)
        self._is_closed = True
        self._keyed.set()
        with suppress(OSError):  # the peer was faster
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

    def _messages(self) -> list[M]:
        if self._incoming is None:
            if len(self._received) < NONCE_BYTES:
                return []
            self._agree(bytes(self._received[:NONCE_BYTES]))
            del self._received[:NONCE_BYTES]
        assert self._incoming is not None
        found = []
        while len(self._received) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._received)
            if length > (MOST_BYTES if self._is_proven else MOST_BYTES_AT_FIRST):
                raise BadInputError(
                    f"a peer announces a message of {length} bytes, which no agent sends. "
                    f"Does another program connect to this port?"
                )
            stop = _LENGTH.size + length
            if len(self._received) < stop + MAC_BYTES:
                break
            hidden = bytes(self._received[_LENGTH.size : stop])
            proof = bytes(self._received[stop : stop + MAC_BYTES])
            del self._received[: stop + MAC_BYTES]
            body = self._incoming.opened(hidden, proof)
            if body is None:
                raise BadInputError(
                    "a peer does not have the keys of this run. Start its agent with the key file of the run."
                )
            self._is_proven = True
            found.append(self._decoded(body))
        return found

    def _decoded(self, body: bytes) -> M:
        try:
            return self._decoder.decode(body)
        except msgspec.MsgspecError as error:
            raise BadInputError(
                f"a message of a host cannot be read ({error}). Run the same release of penstock on all hosts."
            ) from None

    def _agree(self, peer: bytes) -> None:
        nonces = (self._nonce, peer) if self._is_head else (peer, self._nonce)
        to_agent = Seal(self._secret, b"to agent", *nonces)
        to_head = Seal(self._secret, b"to head", *nonces)
        self._outgoing, self._incoming = (to_agent, to_head) if self._is_head else (to_head, to_agent)
        self._keyed.set()

    def _send_all(self) -> None:
        try:
            self._end.sendall(self._nonce)
            self._keyed.wait()
            while not self._is_closed:
                try:
                    message = self._queue.get(timeout=BEAT_S)
                except queue.Empty:
                    message = Beat()
                if message is None:
                    return
                for one in (message,) if isinstance(message, msgspec.Struct) else message:
                    self._send(one)
        except OSError:
            return  # the owner learns it from receive

    def _send(self, message: msgspec.Struct) -> None:
        assert self._outgoing is not None
        body = msgspec.msgpack.encode(message)
        self._end.sendall(_LENGTH.pack(len(body)) + self._outgoing.sealed(body))
