"""The C allocator of a process that moves tensors: large blocks are kept for the next batch.

glibc maps a block above 32 MiB anew each time and gives it back when it is freed, so the kernel clears every page
again: a message of 32 MiB through a socket took 120 ms with that and 40 ms without, on a virtual machine.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES = 1 << 30
"""Blocks up to this are kept. The gateway's limits and the batch sizes bound how many there are."""


def keep_large_blocks() -> bool:
    """Let glibc reuse blocks up to :data:`KEPT_BYTES`; False if the C library is another, which stays as it is."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, KEPT_BYTES) and mallopt(_M_TRIM_THRESHOLD, KEPT_BYTES))
