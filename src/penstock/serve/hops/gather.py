"""Put a batch together of what several processes send: gateways their shares, or workers what a piece needs of theirs.

It does no I/O. A share whose gateway died does not come: the batch then goes on without it. A batch that is split does
not: its rows could not be counted any more, so the dispatcher names it as lost (:meth:`Gather.forget`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, final

import msgspec

from penstock.serve.hops.pieces import sender_of, senders_of
from penstock.serve.messages import ALL_SHARES, BatchHeader, Split, TensorHeader

F = TypeVar("F")
"""A frame: this module only orders them."""

MOST_PENDING = 4_096
"""Batches that may wait for shares; the oldest is given up for a new one. The gateways' limits come long before."""

_Key = tuple[int, int, int]
"""Batch, stage and piece: a worker may get several pieces of one batch."""


@dataclass(frozen=True)
class Whole(Generic[F]):
    """A batch, or a piece of one, with all its rows."""

    header: BatchHeader
    frames: list[F]


@dataclass
class _Pending(Generic[F]):
    """``wanted``: the senders, in the order of their rows. ``since_us``: when the first message came; of a piece, the
    last one, because workers that run at other times send them."""

    since_us: int
    wanted: tuple[int, ...]
    is_piece: bool
    come: dict[int, tuple[BatchHeader, list[F]]] = field(default_factory=dict)


@final
class Gather(Generic[F]):
    """The batches and pieces of one worker that are not whole yet."""

    def __init__(self) -> None:
        self._pending: dict[_Key, _Pending[F]] = {}
        self._gone: set[int] = set()
        self._forgotten: dict[int, None] = {}

    def __len__(self) -> int:
        """How many are not whole."""
        return len(self._pending)

    def add(self, now_us: int, header: BatchHeader, frames: list[F]) -> Whole[F] | None:
        """A message came: the batch, or the piece, if it is whole now."""
        if header.split is not None:
            return self._add_to_piece(now_us, header, header.split, frames)
        if header.gateway == ALL_SHARES:
            return Whole(header, frames)
        key = (header.batch, 0, 0)
        pending = self._pending.get(key)
        if pending is None:
            wanted = tuple([share.gateway for share in header.shares])
            pending = self._pending[key] = _Pending(now_us, wanted, is_piece=False)
        pending.come[header.gateway] = (header, frames)
        return self._whole(key, pending)

    def without(self, gateway: int) -> list[Whole[F]]:
        """``gateway`` died: the batches that are whole without it."""
        self._gone.add(gateway)
        unsplit = [(key, pending) for key, pending in self._pending.items() if not pending.is_piece]
        made = (self._whole(key, pending) for key, pending in unsplit)
        return [whole for whole in made if whole is not None]

    def forget(self, batch: int) -> None:
        """``batch`` is lost: what came of it is dropped, and what still comes."""
        for key in [key for key in self._pending if key[0] == batch]:
            del self._pending[key]
        self._forgotten[batch] = None
        if len(self._forgotten) > MOST_PENDING:
            del self._forgotten[next(iter(self._forgotten))]

    def is_forgotten(self, batch: int) -> bool:
        """Whether ``batch`` was named as lost not long ago."""
        return batch in self._forgotten

    def older_than(self, since_us: int, piece_since_us: int | None = None) -> list[int]:
        """Give up the batches whose first share came before ``since_us``, and all above :data:`MOST_PENDING`.

        ``piece_since_us`` is for pieces, if it is another time.
        """
        surplus = len(self._pending) - MOST_PENDING
        oldest_us = (since_us, since_us if piece_since_us is None else piece_since_us)
        late = [
            key
            for place, (key, pending) in enumerate(self._pending.items())
            if pending.since_us < oldest_us[pending.is_piece] or place < surplus
        ]
        for key in late:
            del self._pending[key]
        return list(dict.fromkeys(batch for batch, _, _ in late))

    def _add_to_piece(
        self, now_us: int, header: BatchHeader, split: Split, frames: list[F]
    ) -> Whole[F] | None:
        if header.batch in self._forgotten:
            return None
        wanted = senders_of(header, split)
        if len(wanted) == 1:
            return Whole(msgspec.structs.replace(header, gateway=ALL_SHARES), frames)
        key = (header.batch, header.stage, split.piece)
        pending = self._pending.setdefault(key, _Pending(now_us, wanted, is_piece=True))
        pending.since_us = now_us
        pending.come[sender_of(header, split)] = (header, frames)
        if len(pending.come) < len(wanted):
            return None
        del self._pending[key]
        return gathered_piece([pending.come[sender] for sender in wanted])

    def _whole(self, key: _Key, pending: _Pending[F]) -> Whole[F] | None:
        """The batch if every share came whose gateway lives. A share that came counts, even if its gateway is gone."""
        come = pending.come
        if any(gateway not in come and gateway not in self._gone for gateway in pending.wanted):
            return None
        del self._pending[key]
        return gathered([come[gateway] for gateway in pending.wanted if gateway in come])


def gathered(messages: list[tuple[BatchHeader, list[F]]]) -> Whole[F]:
    """One message of those of several gateways, in the order of their shares."""
    present = {header.gateway for header, _ in messages}
    return _joined(messages, shares=tuple([s for s in messages[0][0].shares if s.gateway in present]))


def gathered_piece(messages: list[tuple[BatchHeader, list[F]]]) -> Whole[F]:
    """One message for a piece of those of several senders, in the order of their rows.

    Senders may have had a stage in common, whose timings then came with each of them. Its fallbacks came with one.
    """
    headers = [header for header, _ in messages]
    return _joined(
        messages,
        compute_us=max(each.compute_us for each in headers),
        fallbacks=sum(each.fallbacks for each in headers),
        timings=tuple(dict.fromkeys(timing for each in headers for timing in each.timings)),
    )


def _joined(messages: list[tuple[BatchHeader, list[F]]], **changes: Any) -> Whole[F]:
    """All rows of ``messages``, and a header with ``changes``.

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
    header = msgspec.structs.replace(
        headers[0],
        gateway=ALL_SHARES,
        size=sum(header.size for header in headers),
        parts=tuple(samples for group in groups for samples in group.parts),
        tensors=tuple(tensor for group in groups for tensor in group.tensors),
        sent_us=max(each.sent_us for each in headers),
        deadline_us=min(each.deadline_us for each in headers),
        is_traced=any(each.is_traced for each in headers),
        groups=tuple(len(group.parts) for group in groups) if len(groups) > 1 else (),
        **changes,
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
