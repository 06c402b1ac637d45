"""The shared memory of one sender: a file without a name, which the kernel removes with its last user.

So nothing is left behind, whatever dies in whatever order, and a receiver can read on after the sender's death. It is
not in ``/dev/shm``, whose size many containers limit to 64 MiB. The file is sealed: it can never get shorter, so no
reader can be ended by a missing page.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import final

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError

Memory = NDArray[np.uint8]
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
NAME = "penstock"
"""As ``/proc/PID/maps`` shows it: ``/memfd:penstock (deleted)``."""


@final
class MemoryFile:
    """``file_bytes`` of addresses. Pages get memory by :meth:`fill`, and lose it by :meth:`empty`."""

    def __init__(self, file_bytes: int) -> None:
        self.descriptor = os.memfd_create(NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.descriptor, file_bytes)
        fcntl.fcntl(self.descriptor, fcntl.F_ADD_SEALS, _SEALS)
        self._map = mmap.mmap(self.descriptor, file_bytes, mmap.MAP_SHARED)
        self.memory: Memory = np.frombuffer(self._map, np.uint8)

    def fill(self, offset: int, size_bytes: int) -> None:
        """Give memory to these pages, so that no later access can fail; :class:`OSError` if there is none."""
        os.posix_fallocate(self.descriptor, offset, size_bytes)

    def empty(self, offset: int, size_bytes: int) -> None:
        """Give the memory of these pages back. Nobody may read them any more."""
        self._map.madvise(mmap.MADV_REMOVE, offset, size_bytes)

    def close(self) -> None:
        """Let go of it. It lives on for those who have it mapped."""
        del self.memory, self._map
        os.close(self.descriptor)


def mapped(descriptor: int) -> Memory:
    """The file behind ``descriptor``, which may be closed then; read-only, for as long as the array lives.

    Raises :class:`BadInputError` if the file could get shorter.
    """
    if fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & _SEALS != _SEALS:
        raise BadInputError("a shared memory file is not sealed: it is not from a penstock server.")
    size = os.fstat(descriptor).st_size
    memory: Memory = np.frombuffer(
        mmap.mmap(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ), dtype=np.uint8
    )
    return memory
