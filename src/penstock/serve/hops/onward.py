"""Where a batch goes after a stage: to the next worker, in pieces to several workers, or in shares to the gateways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, final

import msgspec

from penstock.serve.hops.pieces import overlaps, span_of, step_of
from penstock.serve.messages import ALL_SHARES, BatchHeader, RouteStep, Share, Split
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import StageSpec, TensorSpec
from penstock.serve.transport import Group, Links, Parts, Transport, tensor_headers
from penstock.serve.transport.wire import NO_AXES, Axes


class Part(NamedTuple):
    """Rows of a batch that left a stage, and who gets them."""

    receiver: RouteStep | Share
    header: BatchHeader
    groups: list[Parts]


@final
class Onward:
    """The links of a worker to those that come after it."""

    def __init__(self, transport: Transport) -> None:
        self._workers = Links(transport)
        self._gateways = Links(transport)
        self._gone: set[int] = set()

    def forget(self, gateway: int) -> None:
        """``gateway`` is gone: what is meant for it is dropped from now on."""
        self._gone.add(gateway)
        self._gateways.close(gateway)

    def pass_on(
        self,
        header: BatchHeader,
        groups: Sequence[Group],
        stage: StageSpec,
        outputs: Sequence[TensorSpec],
        now_us: int,
        compute_us: int,
    ) -> None:
        """Send a batch that left ``stage``, with ``groups`` of all its samples. ``outputs`` are those of the model."""
        if header.split is not None:
            for part in parts_of_piece(header, header.split, groups, stage, outputs, now_us, compute_us):
                self._send(*part)
        elif header.stage + 1 < len(header.route):
            self._send(header.route[header.stage + 1], *next_message(header, groups, now_us, compute_us))
        else:
            for share, own in zip(header.shares, shares_of(groups, header.shares, outputs), strict=True):
                self._send(share, *next_message(header, own, now_us, compute_us, share))

    def _send(self, to: RouteStep | Share, header: BatchHeader, groups: list[Parts]) -> None:
        if isinstance(to, RouteStep):
            self._workers.to(to.worker, to.endpoint).send_batch(header, groups)
        elif to.gateway not in self._gone:
            self._gateways.to(to.gateway, to.endpoint).send_batch(header, groups)


def shares_of(
    groups: Sequence[Group], shares: Sequence[Share], outputs: Sequence[TensorSpec]
) -> list[list[Group]]:
    """The groups of each share. The samples of the shares follow each other; a group may have samples of several."""
    return parted(groups, [share.rows for share in shares], outputs)


def parted(groups: Sequence[Group], samples: Sequence[int], specs: Sequence[TensorSpec]) -> list[list[Group]]:
    """``groups`` cut into parts of so many ``samples`` each; views, not copies. A group may be in several parts."""
    if len(samples) == 1:
        return [list(groups)]
    by_name = {spec.name: spec for spec in specs}
    found: list[list[Group]] = []
    rest = [(group, 0) for group in groups]
    for count in samples:
        own: list[Group] = []
        wanted = count
        while wanted and rest:
            group, first = rest.pop(0)
            taken = min(wanted, group.size - first)
            own.append(_cut(group, first, taken, by_name))
            wanted -= taken
            if first + taken < group.size:
                rest.insert(0, (group, first + taken))
        found.append(own)
    return found


def _cut(group: Group, first: int, samples: int, specs: Mapping[str, TensorSpec]) -> Group:
    if samples == group.size:
        return group
    parts = [Tensor(t.name, t.datatype, specs[t.name].part(t.array, first, samples)) for t in group.tensors]
    return Group(samples, parts)


def next_message(
    header: BatchHeader,
    groups: Sequence[Group],
    now_us: int,
    compute_us: int,
    share: Share | None = None,
    axes: Axes = NO_AXES,
) -> tuple[BatchHeader, list[Parts]]:
    """The batch of ``header`` after its stage, or one ``share`` of it: each group is one part."""
    onward = msgspec.structs.replace(
        header,
        stage=header.stage + 1,
        gateway=ALL_SHARES if share is None else share.gateway,
        size=header.size if share is None else share.rows,
        sent_us=now_us,
        compute_us=header.compute_us + compute_us,
        parts=tuple(group.size for group in groups),
        tensors=tuple(one for group in groups for one in tensor_headers([group.tensors], axes)),
        groups=(1,) * len(groups) if len(groups) > 1 else (),
    )
    return onward, [[group.tensors] for group in groups]


def parts_of_piece(
    header: BatchHeader,
    split: Split,
    groups: Sequence[Group],
    stage: StageSpec,
    outputs: Sequence[TensorSpec],
    now_us: int,
    compute_us: int,
) -> Iterator[Part]:
    """What a piece that left ``stage`` sends: rows to each piece of the next stage that has some, or to each gateway.

    The receiver joins the rows of its senders, so it is told along which axis.
    """
    first, stop = span_of(split.pieces[header.stage], split.piece)
    is_last = header.stage + 1 == len(split.pieces)
    lengths = [share.rows for share in header.shares] if is_last else split.pieces[header.stage + 1]
    receivers = overlaps(first, stop, lengths)
    specs = outputs if is_last else (*stage.computed, *stage.forwarded)
    axes = {spec.name: spec.axis for spec in specs}
    samples = [one.stop - one.first for one in receivers]
    for one, own in zip(receivers, parted(groups, samples, specs), strict=True):
        onward, tensors = next_message(header, own, now_us, compute_us, axes=axes)
        to: RouteStep | Share = (
            header.shares[one.place]
            if is_last
            else header.route[step_of(split.pieces, onward.stage, one.place)]
        )
        onward = msgspec.structs.replace(
            onward,
            gateway=to.gateway if isinstance(to, Share) else ALL_SHARES,
            size=one.stop - one.first,
            split=Split(split.pieces, 0 if is_last else one.place, split.piece),
            # Added up where pieces meet again, so only one of them takes along what was counted so far.
            fallbacks=header.fallbacks if one is receivers[0] else 0,
        )
        yield Part(to, onward, tensors)
