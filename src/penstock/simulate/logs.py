"""The arrays a simulation writes, and the record made of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.record import Batches, Record, Requests
from penstock.schedule.checks import checked_column
from penstock.schedule.table import DispatchTable
from penstock.simulate.world import BatchLog, RequestLog
from penstock.traffic.arrivals import Arrivals
from penstock.units import LATEST_US


def make_request_log(table: DispatchTable, arrivals: Arrivals, model_names: Sequence[str]) -> RequestLog:
    """The requests with their deadlines.

    Raises :class:`BadInputError` for columns that are not int64, for a model that the table does not have, and for
    times that kernels cannot add up.
    """
    if len(model_names) != table.n_models:
        raise BadInputError(
            f"model_names (={list(model_names)}) must name the table's {table.n_models} models."
        )
    checked_column("arrivals: model", arrivals.model, table.n_models - 1, "give models of the plan")
    checked_column("arrivals: arrival_us", arrivals.arrival_us, LATEST_US, "count from the start of the run")
    slo_us = table.slo_us if arrivals.slo_us is None else arrivals.slo_us
    longest_us = LATEST_US - int(arrivals.arrival_us.max(initial=0))
    checked_column("arrivals: slo_us", slo_us, longest_us, "shorten the SLO")
    # In place: what these columns cost is mostly the pages of new arrays.
    deadline_us = slo_us[arrivals.model] if arrivals.slo_us is None else slo_us.copy()
    deadline_us += arrivals.arrival_us
    unknown = [_unknown(len(arrivals)) for _ in range(4)]
    return RequestLog(arrivals.arrival_us, arrivals.model, deadline_us, *unknown)


def make_batch_log(rows: int, stages: int, rng: np.random.Generator | None) -> BatchLog:
    """Room for ``rows`` batches; ``rng`` draws their noise, None for none.

    ``worker`` is -1 until a stage is written. The other columns hold anything until then.
    """
    normal = np.zeros((0, stages)) if rng is None else rng.standard_normal((rows, stages))
    return BatchLog(
        model=np.empty(rows, np.int64),
        pipeline=np.empty(rows, np.int64),
        size=np.empty(rows, np.int64),
        worker=_unknown((rows, stages)),
        queued_us=np.empty((rows, stages), np.int64),
        start_us=np.empty((rows, stages), np.int64),
        end_us=np.empty((rows, stages), np.int64),
        transfer_us=np.empty((rows, stages), np.int64),
        normal=normal,
    )


def rows_to_begin_with(table: DispatchTable, arrivals: Arrivals, *, by_stage: bool = False) -> int:
    """Rows for as many batches as ``arrivals`` make at least if none is dropped: fewer would have to grow.

    ``by_stage``: each stage makes its own batches.
    """
    batches = len(arrivals) // int(table.pipeline_batch.max())
    if by_stage:
        batches *= int(np.diff(table.stage_offsets).min())
    # A power of two: the log doubles, and what it has room for beyond the run costs noise that nobody reads.
    return max(1024, 1 << batches.bit_length())


def grow_batch_log(log: BatchLog, rng: np.random.Generator | None) -> BatchLog:
    """The same log with twice the rows."""
    rows = len(log.size)
    # Only what is known is copied: the pages of a new array cost more than the simulation that fills them.
    grown = BatchLog(*(doubled(column) for column in log))
    grown.worker[rows:] = -1
    if rng is not None:
        rng.standard_normal(out=grown.normal[rows:])
    return grown


def doubled(column: NDArray[Any]) -> NDArray[Any]:
    """``column`` with twice the rows. The new ones hold anything."""
    wider = np.empty((2 * len(column), *column.shape[1:]), column.dtype)
    wider[: len(column)] = column
    return wider


def make_record(
    table: DispatchTable, model_names: Sequence[str], requests: RequestLog, log: BatchLog, n_batches: int
) -> Record:
    """The record of a finished simulation: pipelines counted within their model, one row a batch and stage."""
    return Record(
        models=tuple(model_names),
        requests=Requests(
            model=requests.model,
            request=np.arange(len(requests.model), dtype=np.int64),
            arrival_us=requests.arrival_us,
            deadline_us=requests.deadline_us,
            pipeline=_within_model(table, requests.pipeline, requests.model),
            batch=requests.batch,
            finish_us=requests.finish_us,
            outcome=requests.outcome,
        ),
        batches=_batches(table, log, n_batches),
        source="simulated",
    )


def _batches(table: DispatchTable, log: BatchLog, n_batches: int) -> Batches:
    # By places in the flat columns, which numpy takes in a third of the time of pairs of indices.
    columns = log.worker.shape[1]
    place = np.flatnonzero(log.worker[:n_batches] >= 0)
    batch = place // columns
    column = place - columns * batch
    model = log.model[batch]
    stage, size = column, log.size[batch]
    if table.splits:
        stage, size = _stages_and_sizes(table, log.pipeline, log.size, batch, column)
    return Batches(
        batch=batch,
        model=model,
        pipeline=_within_model(table, log.pipeline[batch], model),
        stage=stage,
        worker=log.worker.reshape(-1)[place],
        size=size,
        queued_us=log.queued_us.reshape(-1)[place],
        start_us=log.start_us.reshape(-1)[place],
        end_us=log.end_us.reshape(-1)[place],
        transfer_us=log.transfer_us.reshape(-1)[place],
    )


def _stages_and_sizes(
    table: DispatchTable, pipeline: I64, size: I64, batch: I64, column: I64
) -> tuple[I64, I64]:
    """The stage and the requests of each piece, (n,) each: of ``column`` (n,) of ``batch`` (n,).

    ``pipeline`` and ``size`` are by batch, ``pipeline`` counts over the table.
    """
    first, total = table.stage_offsets[pipeline[batch]], size[batch]
    stages, begin = first.copy(), np.zeros(len(batch), np.int64)
    most = table.piece_batch
    pieces = -(-total // most[stages])
    while (beyond := column >= begin + pieces).any():
        begin += np.where(beyond, pieces, 0)
        stages += beyond
        pieces = -(-total // most[stages])
    least, more = np.divmod(total, pieces)
    return stages - first, least + (column - begin < more)


def _within_model(table: DispatchTable, pipeline: I64, model: I64) -> I64:
    """Global numbers of pipelines as numbers within their model; -1 stays -1."""
    found = table.pipeline_offsets[model]
    np.subtract(pipeline, found, out=found)
    return np.maximum(found, -1, out=found)


def _unknown(shape: int | tuple[int, int]) -> I64:
    return np.full(shape, -1, np.int64)
