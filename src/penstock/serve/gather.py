"""Put the shares of a batch together: each gateway sends its own rows to the first stage's worker.

It does no I/O. A share whose gateway died does not come: the batch then goes on without it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar, final

import msgspec

from penstock.serve.messages import ALL_SHARES, BatchHeader, Share, TensorHeader

F = TypeVar("F")
"""A frame: this module only orders them."""

MOST_PENDING = 4_096
"""Batches that may wait for shares; the oldest is given up for a new one. The gateways' limits come long before."""


@dataclass(frozen=True)
class Whole(Generic[F]):
    """A batch with all its rows."""

    header: BatchHeader
    frames: list[F]


@dataclass
class _Pending(Generic[F]):
    since_us: int
    wanted: tuple[Share, ...]
    come: dict[int, tuple[BatchHeader, list[F]]] = field(default_factory=dict)


@final
class Gather(Generic[F]):
    """The batches of one worker that are not whole yet."""

    def __init__(self) -> None:
        self._pending: dict[int, _Pending[F]] = {}
        self._gone: set[int] = set()

    def __len__(self) -> int:
        """How many batches are not whole."""
        return len(self._pending)

    def add(self, now_us: int, header: BatchHeader, frames: list[F]) -> Whole[F] | None:
        """A message for the first stage came: the batch if it is whole now."""
        if header.gateway == ALL_SHARES:
            return Whole(header, frames)
        pending = self._pending.setdefault(header.batch, _Pending(now_us, header.shares))
        pending.come[header.gateway] = (header, frames)
        return self._whole(header.batch, pending)

    def without(self, gateway: int) -> list[Whole[F]]:
        """``gateway`` died: the batches that are whole without it."""
        self._gone.add(gateway)
        made = (self._whole(batch, pending) for batch, pending in list(self._pending.items()))
        return [whole for whole in made if whole is not None]

    def older_than(self, since_us: int) -> list[int]:
        """Give up the batches whose first share came before ``since_us``, and all above :data:`MOST_PENDING`."""
        surplus = len(self._pending) - MOST_PENDING
        late = [
            batch
            for place, (batch, pending) in enumerate(self._pending.items())
            if pending.since_us < since_us or place < surplus
        ]
        for batch in late:
            del self._pending[batch]
        return late

    def _whole(self, batch: int, pending: _Pending[F]) -> Whole[F] | None:
        """The batch if every share came whose gateway lives. A share that came counts, even if its gateway is gone."""
        come = pending.come
        if any(s.gateway not in come and s.gateway not in self._gone for s in pending.wanted):
            return None
        del self._pending[batch]
        return gathered([come[share.gateway] for share in pending.wanted if share.gateway in come])


def gathered(messages: list[tuple[BatchHeader, list[F]]]) -> Whole[F]:
    """One message of those of several gateways, in the order of their shares.

    Groups that follow each other are one if their shared tensors are equal.
    """
    headers = [header for header, _ in messages]
    groups: list[_Group[F]] = []
    for header, frames in messages:
        for group in _groups_of(header, frames):
            if groups and groups[-1].runs_with(group):
                groups[-1] = groups[-1].joined(group)
            else:
                groups.append(group)
    present = {header.gateway for header in headers}
    header = msgspec.structs.replace(
        headers[0],
        shares=tuple(share for share in headers[0].shares if share.gateway in present),
        gateway=ALL_SHARES,
        size=sum(header.size for header in headers),
        parts=tuple(samples for group in groups for samples in group.parts),
        tensors=tuple(tensor for group in groups for tensor in group.tensors),
        sent_us=max(each.sent_us for each in headers),
        deadline_us=min(each.deadline_us for each in headers),
        is_traced=any(each.is_traced for each in headers),
        groups=tuple(len(group.parts) for group in groups) if len(groups) > 1 else (),
    )
    return Whole(header, [frame for group in groups for column in group.columns for frame in column])


@dataclass(frozen=True)
class _Group(Generic[F]):
    """A group of a message: its parts, its tensors, and for each tensor the frames of its parts."""

    parts: tuple[int, ...]
    tensors: tuple[TensorHeader, ...]
    columns: tuple[list[F], ...]

    def shared(self) -> list[bytes]:
        """The tensors that have no batch. They are small: a sample rate, a threshold."""
        pairs = zip(self.tensors, self.columns, strict=True)
        return [bytes(column[0]) for tensor, column in pairs if tensor.axis == -1]  # type: ignore[call-overload]

    def runs_with(self, other: _Group[F]) -> bool:
        """Whether both can run as one."""
        return self.shared() == other.shared()

    def joined(self, other: _Group[F]) -> _Group[F]:
        """Both as one."""
        tensors = tuple(_longer(a, b) for a, b in zip(self.tensors, other.tensors, strict=True))
        columns = tuple([*a, *b] for a, b in zip(self.columns, other.columns, strict=True))
        return _Group(self.parts + other.parts, tensors, columns)


def _groups_of(header: BatchHeader, frames: list[F]) -> Iterator[_Group[F]]:
    counts = header.groups or (len(header.parts),)
    n_tensors = len(header.tensors) // len(counts)
    part = frame = 0
    for number, count in enumerate(counts):
        columns = tuple(frames[frame + k * count : frame + (k + 1) * count] for k in range(n_tensors))
        tensors = header.tensors[number * n_tensors : (number + 1) * n_tensors]
        yield _Group(header.parts[part : part + count], tensors, columns)
        part += count
        frame += count * n_tensors


def _longer(first: TensorHeader, second: TensorHeader) -> TensorHeader:
    """The header of both tensors joined along their axis."""
    axis = first.axis
    if axis == -1:
        return first
    length = first.shape[axis] + second.shape[axis]
    return msgspec.structs.replace(first, shape=(*first.shape[:axis], length, *first.shape[axis + 1 :]))
