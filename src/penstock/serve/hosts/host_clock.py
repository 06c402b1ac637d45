"""One time for processes of many hosts: each host's steady clock, and how far it is from that of the head.

The agent of a host estimates the distance again and again (:mod:`penstock.serve.hosts.offset`) and leaves it in a
file that its workers have mapped. The distance is for times that are compared or recorded: reservations use the
dispatcher's own clock when a message comes.
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path
from typing import final

from penstock.clock import Clock, MonotonicClock

_FILE = "clock-offset"
_FORM = struct.Struct("<q")


def write_offset(folder: Path, offset_us: int) -> None:
    """Leave the distance in the run folder of the host: microseconds to add to its clock."""
    path = folder / _FILE
    if not path.exists():
        path.write_bytes(_FORM.pack(offset_us))
        return
    # In place, so that who has it mapped sees it. Eight aligned bytes are written at once.
    with path.open("r+b") as file, mmap.mmap(file.fileno(), _FORM.size) as shared:
        _FORM.pack_into(shared, 0, offset_us)


def clock_at(folder: Path) -> Clock:
    """The clock of the head, for a process whose run folder is ``folder``."""
    path = folder / _FILE
    return HostClock(path) if path.exists() else MonotonicClock()


@final
class HostClock:
    """This host's steady clock and the distance in the file at ``path``. It may step back by what that was wrong."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._shared = mmap.mmap(file.fileno(), _FORM.size, access=mmap.ACCESS_READ)

    def now_us(self) -> int:
        """Microseconds of the head's clock."""
        offset_us: int = _FORM.unpack_from(self._shared)[0]
        return time.monotonic_ns() // 1_000 + offset_us
