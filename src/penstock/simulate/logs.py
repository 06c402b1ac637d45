"""The arrays a simulation writes, and the record made of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from penstock.errors import BadInputError
from penstock.record import Batches, Record, Requests
from penstock.schedule.table import I64, DispatchTable
from penstock.simulate.world import BatchLog, RequestLog
from penstock.traffic.arrivals import Arrivals


def make_request_log(table: DispatchTable, arrivals: Arrivals, model_names: Sequence[str]) -> RequestLog:
    """The requests with their deadlines; :class:`BadInputError` for a model that the table does not have."""
    if len(model_names) != table.n_models:
        raise BadInputError(
            f"model_names (={list(model_names)}) must name the table's {table.n_models} models."
        )
    if len(arrivals) and int(arrivals.model.max()) >= table.n_models:
        raise BadInputError(
            f"arrivals: model (={int(arrivals.model.max())}) must be below {table.n_models}, the models of the plan."
        )
    slo_us = table.slo_us[arrivals.model] if arrivals.slo_us is None else arrivals.slo_us
    unknown = [_unknown(len(arrivals)) for _ in range(4)]
    return RequestLog(arrivals.arrival_us, arrivals.model, arrivals.arrival_us + slo_us, *unknown)


def make_batch_log(rows: int, stages: int, rng: np.random.Generator | None) -> BatchLog:
    """Room for ``rows`` batches; ``rng`` draws their noise, None for none."""
    normal = np.zeros((0, stages)) if rng is None else rng.standard_normal((rows, stages))
    return BatchLog(
        model=_unknown(rows),
        pipeline=_unknown(rows),
        size=_unknown(rows),
        worker=_unknown((rows, stages)),
        queued_us=_unknown((rows, stages)),
        start_us=_unknown((rows, stages)),
        end_us=_unknown((rows, stages)),
        transfer_us=_unknown((rows, stages)),
        normal=normal,
    )


def grow_batch_log(log: BatchLog, rng: np.random.Generator | None) -> BatchLog:
    """The same log with twice the rows."""
    rows, stages = log.worker.shape
    more = make_batch_log(rows, stages, rng)
    return BatchLog(*(np.concatenate(pair) for pair in zip(log, more, strict=True)))


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
    batch, stage = np.nonzero(log.worker[:n_batches] >= 0)
    model = log.model[batch]
    return Batches(
        batch=batch.astype(np.int64),
        model=model,
        pipeline=_within_model(table, log.pipeline[batch], model),
        stage=stage.astype(np.int64),
        worker=log.worker[batch, stage],
        size=log.size[batch],
        queued_us=log.queued_us[batch, stage],
        start_us=log.start_us[batch, stage],
        end_us=log.end_us[batch, stage],
        transfer_us=log.transfer_us[batch, stage],
    )


def _within_model(table: DispatchTable, pipeline: I64, model: I64) -> I64:
    return np.where(pipeline >= 0, pipeline - table.pipeline_first[model], -1)


def _unknown(shape: int | tuple[int, int]) -> I64:
    return np.full(shape, -1, np.int64)
