"""The receiver's side of a block: it is given back when the last array that shows it is gone.

Python counts references anyway, so this cannot be forgotten, done twice, or done too early: a view of a view of the
block keeps it, in whatever thread.
"""

from __future__ import annotations

import socket
from collections import deque
from typing import final

import numpy as np

from penstock.serve.transport.shared.doorbell import Returned, send_packet
from penstock.serve.transport.shared.memory_file import Memory

_MOST_AT_ONCE = 64


@final
class Returns:
    """The leases to give back to one sender. Any thread may add to it."""

    def __init__(self, to: socket.socket) -> None:
        self._to = to
        self._owed: deque[int] = deque()

    def add(self, lease: int) -> None:
        """Give ``lease`` back, now if the socket has room, else by a later call."""
        self._owed.append(lease)
        self.flush()

    def flush(self) -> None:
        """Send what is owed, as far as the socket has room."""
        while self._owed:
            leases = self._some()
            try:
                send_packet(self._to, Returned(tuple(leases)))
            except BlockingIOError:
                self._owed.extend(leases)
                return
            except OSError:
                # The sender is dead, so its memory is no longer used again.
                self._owed.clear()
                return

    def _some(self) -> list[int]:
        leases: list[int] = []
        while len(leases) < _MOST_AT_ONCE:
            try:
                leases.append(self._owed.popleft())
            except IndexError:  # another thread took the rest
                break
        return leases


@final
class _Leased:
    """What numpy makes an array of: a piece of memory that belongs to somebody else, and may not be written."""

    __slots__ = ("__array_interface__", "_lease", "_memory", "_returns")

    def __init__(self, memory: Memory, lease: int, returns: Returns) -> None:
        self._memory = memory
        self._lease = lease
        self._returns = returns
        self.__array_interface__ = memory.__array_interface__

    def __del__(self) -> None:
        self._returns.add(self._lease)


def leased(memory: Memory, lease: int, returns: Returns) -> memoryview:
    """A view of ``memory``; when the last view or array of it is gone, ``lease`` is given back by ``returns``."""
    array: Memory = np.asarray(_Leased(memory, lease, returns))
    return array.data
