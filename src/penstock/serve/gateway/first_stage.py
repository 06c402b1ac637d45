"""What a gateway sends to the first stage: its share of a batch, or its rows of each piece."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

import msgspec

from penstock.serve.gateway.shipped import cut_runs
from penstock.serve.gateway.waiting import Run
from penstock.serve.hops.pieces import overlaps, share_span
from penstock.serve.messages import Assign, BatchHeader, RouteStep, Split
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import ServerSpec, TensorSpec
from penstock.serve.transport import Parts, tensor_headers


def first_messages(
    spec: ServerSpec, gateway: int, message: Assign, runs: Sequence[Run], now_us: int, is_traced: bool
) -> Iterator[tuple[RouteStep, BatchHeader, list[Parts]]]:
    """The share of ``gateway``, ``runs``, for each worker of the first stage that gets some of it."""
    if not message.pieces:
        yield message.route[0], *first_message(spec, gateway, message, runs, now_us, is_traced)
        return
    begin, end = share_span(message.shares, gateway)
    for one in overlaps(begin, end, message.pieces[0]):
        own = cut_runs(runs, one.first - begin, one.stop - begin)
        header, groups = first_message(spec, gateway, message, own, now_us, is_traced)
        header = msgspec.structs.replace(header, split=Split(message.pieces, one.place))
        yield message.route[one.place], header, groups


def first_message(
    spec: ServerSpec,
    gateway: int,
    message: Assign,
    runs: Sequence[Run],
    now_us: int,
    is_traced: bool = False,
) -> tuple[BatchHeader, list[Parts]]:
    """Rows of ``gateway``, ``runs``, for a worker of the first stage, in groups of the same shared value."""
    stage = spec.stage_at(message.pipeline, 0)
    inputs = {one.name: one for one in spec.models[stage.model].inputs}
    specs = [inputs[one.name] for one in stage.inputs]
    axes = {one.name: one.axis for one in specs}
    groups: list[Parts] = [
        [_samples_of(run, specs) for run in of_one_value]
        for _, of_one_value in groupby(runs, lambda run: run.request.shared)
    ]
    header = BatchHeader(
        epoch=message.epoch,
        batch=message.batch,
        pipeline=message.pipeline,
        route=message.route,
        stage=0,
        shares=message.shares,
        gateway=gateway,
        size=sum(run.rows for run in runs),
        sent_us=now_us,
        compute_us=0,
        parts=tuple(run.rows for run in runs),
        tensors=tuple(one for parts in groups for one in tensor_headers(parts, axes)),
        deadline_us=min(run.request.deadline_us for run in runs),
        groups=tuple(len(parts) for parts in groups) if len(groups) > 1 else (),
        is_traced=is_traced,
    )
    return header, groups


def _samples_of(run: Run, specs: Sequence[TensorSpec]) -> list[Tensor]:
    """The inputs of a run's samples; views, not copies."""
    tensors = ((spec, run.request.inputs[spec.name]) for spec in specs)
    return [Tensor(t.name, t.datatype, spec.part(t.array, run.offset, run.rows)) for spec, t in tensors]
