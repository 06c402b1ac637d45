"""Which block of a sender's shared memory holds which batch, without I/O.

The memory of a sender is one sparse file, cut into blocks of a few sizes. A block is *empty* (it has an address but no
memory), *free* (it has memory), or *leased*: one receiver reads it. A sender leases a block, writes a batch there and
tells the receiver; the receiver returns the lease when it has read the batch. The rules, each of which a test tries to
break:

- A leased block is given to nobody else until its own receiver returned that very lease, or until that receiver is
  dead. A batch that is sent again, on another route, is written to another block.
- A lease is returned once. A return that does not fit (an old lease, another receiver's) is refused.
- The memory of free and leased blocks together is never above the limit. If it would be, free blocks lose their memory,
  those that were not used for the longest time first; if that is not enough, there is no block.
- No memory is asked for while a free block fits.

Addresses are never given back to another size, so the file is at most as long as the peaks of all sizes together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from penstock.errors import BadInputError

PAGE_BYTES = 4_096
_STEPS = 4
"""Sizes per doubling, so that at most a fifth of a block above 16 KiB is unused."""


def block_bytes(n_bytes: int) -> int:
    """The size of the block for ``n_bytes``: whole pages, and one of four sizes per doubling."""
    least = max(n_bytes, PAGE_BYTES)
    largest_power = 1 << (least - 1).bit_length() - 1
    step = max(largest_power // _STEPS, PAGE_BYTES)
    return -(-least // step) * step


@dataclass(frozen=True, slots=True)
class Grant:
    """A leased block, ``size_bytes`` long from ``offset``. ``is_new``: it has no memory yet.

    ``emptied``: (offset, size) of the blocks whose memory is to be given back first.
    """

    lease: int
    offset: int
    size_bytes: int
    is_new: bool = False
    emptied: tuple[tuple[int, int], ...] = ()


@final
class BlockPool:
    """The blocks of one sender. A holder is a receiver, by a number that is never used again."""

    def __init__(self, limit_bytes: int, file_bytes: int) -> None:
        if not 0 < limit_bytes <= file_bytes:
            raise BadInputError(
                f"limit_bytes (={limit_bytes}) must be above 0 and at most file_bytes (={file_bytes})."
            )
        self._limit_bytes = limit_bytes
        self._file_bytes = file_bytes
        self._end = 0
        self._free: dict[int, list[int]] = {}  # size -> offsets; the one used last is taken first
        self._freed: dict[int, int] = {}  # offset -> size of all free blocks, the longest unused first
        self._empty: dict[int, list[int]] = {}
        self._leases: dict[int, tuple[int, int, int]] = {}  # lease -> holder, offset, size
        self._next_lease = 1
        self.memory_bytes = 0
        """Of free and leased blocks."""

    @property
    def leased(self) -> int:
        """How many blocks are leased."""
        return len(self._leases)

    def reuse(self, n_bytes: int, holder: int) -> Grant | None:
        """A block that has memory, for ``holder``; None if none of the right size is free.

        A block up to twice as large as needed will do.
        """
        size = block_bytes(n_bytes)
        largest = 2 * size
        while size <= largest:
            if self._free.get(size):
                offset = self._free[size].pop()
                del self._freed[offset]
                return self._lease(holder, offset, size)
            size = block_bytes(size + 1)
        return None

    def grow(self, n_bytes: int, holder: int) -> Grant | None:
        """A block that needs memory, for ``holder``; None if the limit or the addresses do not allow one."""
        size = block_bytes(n_bytes)
        emptied = self._room_for(size)
        if emptied is None:
            return None
        if self._empty.get(size):
            offset = self._empty[size].pop()
        elif self._end + size <= self._file_bytes:
            offset = self._end
            self._end += size
        else:
            return None
        for gone, gone_size in emptied:
            del self._freed[gone]
            self._free[gone_size].remove(gone)
            self._lose_memory(gone, gone_size)
        self.memory_bytes += size
        return self._lease(holder, offset, size, is_new=True, emptied=tuple(emptied))

    def returned(self, holder: int, lease: int) -> None:
        """``holder`` has read the block of ``lease``.

        Raises :class:`BadInputError`, and changes nothing, if it does not have that lease.
        """
        found = self._leases.get(lease)
        if found is None or found[0] != holder:
            raise BadInputError(
                f"receiver {holder} returned lease {lease}, which it does not have: a lease is returned once."
            )
        self._release(lease)

    def holder_died(self, holder: int) -> None:
        """``holder`` reads no more, because its process ended: all its leases end."""
        for lease in [lease for lease, found in self._leases.items() if found[0] == holder]:
            self._release(lease)

    def no_memory(self, grant: Grant) -> None:
        """The system gave no memory for a new block."""
        _, offset, size = self._leases.pop(grant.lease)
        self._lose_memory(offset, size)

    def _room_for(self, size: int) -> list[tuple[int, int]] | None:
        """Free blocks whose memory makes room for ``size`` more; None if all of it is not enough."""
        over = self.memory_bytes + size - self._limit_bytes
        chosen = []
        for offset, freed_size in self._freed.items():
            if over <= 0:
                break
            chosen.append((offset, freed_size))
            over -= freed_size
        return chosen if over <= 0 else None

    def _lease(
        self,
        holder: int,
        offset: int,
        size: int,
        *,
        is_new: bool = False,
        emptied: tuple[tuple[int, int], ...] = (),
    ) -> Grant:
        lease = self._next_lease
        self._next_lease += 1
        self._leases[lease] = (holder, offset, size)
        return Grant(lease, offset, size, is_new, emptied)

    def _release(self, lease: int) -> None:
        _, offset, size = self._leases.pop(lease)
        self._free.setdefault(size, []).append(offset)
        self._freed[offset] = size

    def _lose_memory(self, offset: int, size: int) -> None:
        self._empty.setdefault(size, []).append(offset)
        self.memory_bytes -= size
