"""The keys of one run, for ZeroMQ over TCP with CURVE: who does not have them gets nothing, and cannot send.

A run has two pairs: one proves that a listener belongs to the run, the other that a sender does. All processes of the
run have both. The keys lie in one file of the run folder, which only its owner may read.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import final

import msgspec
import zmq

from penstock.errors import BadInputError

KEYS_FILE = "curve-keys.json"


class CurveKeys(msgspec.Struct, frozen=True):
    """Two pairs of keys, in Z85 (40 letters each)."""

    listener_public: str
    listener_secret: str
    sender_public: str
    sender_secret: str

    def __repr__(self) -> str:
        """Without the secrets: logs and tracebacks show it."""
        return f"CurveKeys(listener_public={self.listener_public!r}, ...)"


def new_keys() -> CurveKeys:
    """Keys for a new run."""
    pairs = [[key.decode() for key in zmq.curve_keypair()] for _ in range(2)]
    return CurveKeys(*pairs[0], *pairs[1])


def write_keys(folder: Path) -> CurveKeys:
    """New keys, left in the run folder for the processes of the run; the supervisor calls it once."""
    keys = new_keys()
    keep_keys(keys, folder)
    return keys


def keep_keys(keys: CurveKeys, folder: Path) -> None:
    """Leave ``keys`` in the run folder of a host."""
    # Not readable by others for a moment either, so the mode is given with the creation.
    descriptor = os.open(folder / KEYS_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(keys))


def read_keys(folder: Path) -> CurveKeys:
    """The keys in the run folder; :class:`BadInputError` if others may read them, or they are no keys."""
    path = folder / KEYS_FILE
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        keys = msgspec.json.decode(path.read_bytes(), type=CurveKeys)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadInputError(
            f"{path}: cannot read the keys of the run ({error}). Start the server anew."
        ) from None
    if mode & 0o077:
        raise BadInputError(
            f"{path} has mode {mode:o} (must be 600): others may have read the keys. Start the server anew."
        )
    return keys


def be_listener(socket: zmq.Socket[bytes], keys: CurveKeys) -> None:
    """Let ``socket`` accept senders of the run only. Its context needs :class:`SendersOfRun`."""
    socket.curve_secretkey = keys.listener_secret.encode()
    socket.curve_publickey = keys.listener_public.encode()
    socket.curve_server = True


def be_sender(socket: zmq.Socket[bytes], keys: CurveKeys) -> None:
    """Let ``socket`` speak to listeners of the run only."""
    socket.curve_secretkey = keys.sender_secret.encode()
    socket.curve_publickey = keys.sender_public.encode()
    socket.curve_serverkey = keys.listener_public.encode()


@final
class SendersOfRun:
    """Answers the listeners of one ZeroMQ context whether a sender belongs to the run. It has a thread."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], keys: CurveKeys) -> None:
        from zmq.auth.thread import ThreadAuthenticator

        self._sender = keys.sender_public.encode()
        self._thread = ThreadAuthenticator(context)
        self._thread.start()
        self._thread.configure_curve_callback(domain="*", credentials_provider=self)

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the sender that proved to have the secret of ``key`` is one of the run."""
        return key == self._sender

    def close(self) -> None:
        """End the thread."""
        self._thread.stop()
