"""The record of a live run: each process keeps its own rows, the supervisor joins them at the end.

The gateway knows when a request came and was answered; the dispatcher hears from the workers when batches
ran. One row a sample: a request of n samples is n requests to the policy, and to the plan's rates.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from penstock.record import I64, Batches, Record, Requests
from penstock.serve.messages import StageDone
from penstock.serve.spec import ServerSpec

_REQUESTS = "requests.npz"
_BATCHES = "batches.npz"


class _Columns:
    """Growing int64 columns."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._columns = {name: array("q") for name in names}

    def append(self, *values: int) -> None:
        for column, value in zip(self._columns.values(), values, strict=True):
            column.append(value)

    def save(self, path: Path) -> None:
        arrays: dict[str, Any] = {name: np.array(column, np.int64) for name, column in self._columns.items()}
        np.savez(path, **arrays)


class RequestRows:
    """The gateway's rows, in order of the answers."""

    def __init__(self) -> None:
        self._columns = _Columns(tuple(Requests.__dataclass_fields__))

    def add(
        self,
        *,
        model: int,
        unit: int,
        arrival_us: int,
        deadline_us: int,
        pipeline: int,
        batch: int,
        finish_us: int,
        outcome: int,
    ) -> None:
        """One sample, answered."""
        self._columns.append(model, unit, arrival_us, deadline_us, pipeline, batch, finish_us, outcome)

    def save(self, folder: Path) -> None:
        """Leave the rows in the run folder."""
        self._columns.save(folder / _REQUESTS)


class BatchRows:
    """The dispatcher's rows, in order of completion."""

    def __init__(self, spec: ServerSpec) -> None:
        self._spec = spec
        self._columns = _Columns(tuple(Batches.__dataclass_fields__))

    def add(self, done: StageDone) -> None:
        """One batch at one stage."""
        stage = self._spec.stage_at(done.pipeline, done.stage)
        self._columns.append(
            done.batch,
            stage.model,
            stage.pipeline,
            done.stage,
            done.worker,
            done.size,
            done.queued_us,
            done.start_us,
            done.end_us,
            done.transfer_us,
        )

    def save(self, folder: Path) -> None:
        """Leave the rows in the run folder."""
        self._columns.save(folder / _BATCHES)


def joined_record(spec: ServerSpec, folder: Path) -> Record:
    """The record of the run in ``folder``: requests by arrival, batches by start, times from the first."""
    requests = _ordered(folder / _REQUESTS, "arrival_us")
    batches = _ordered(folder / _BATCHES, "start_us")
    origin_us = int(requests["arrival_us"].min(initial=2**62)) if requests["arrival_us"].size else 0
    return Record(
        models=tuple(model.name for model in spec.models),
        requests=Requests(**_from_origin(requests, origin_us)),
        batches=Batches(**_from_origin(batches, origin_us)),
        source="measured",
    )


def _ordered(path: Path, key: str) -> dict[str, I64]:
    with np.load(path) as columns:
        order = np.argsort(columns[key], kind="stable")
        return {name: columns[name][order] for name in columns.files}


def _from_origin(columns: dict[str, I64], origin_us: int) -> dict[str, I64]:
    """Points in time as time since ``origin_us``; -1 ("does not apply") stays."""
    moments = {"arrival_us", "deadline_us", "finish_us", "queued_us", "start_us", "end_us"}
    return {
        name: np.where(column == -1, -1, column - origin_us) if name in moments else column
        for name, column in columns.items()
    }
