"""The record of a live run: gateways and dispatchers append rows to files while they serve, and the end joins them.

A gateway knows when a request came and when it was answered. The dispatcher hears from the workers when batches ran.
There is one row for each sample: a request of n samples is n requests to the policy, and in the rates of the plan.

A row is a fixed number of int64, so a file can be read at any moment, and after any fault: what a process had not
written when it was killed is lost (at most :data:`ROWS_AT_ONCE` rows), and a row that was cut off is left out. A file
that has grown to :data:`ROWS_OF_A_FILE` is followed by another one; of each process the last :data:`MOST_FILES` are
kept, so a server that never ends fills no disk.
"""

from __future__ import annotations

import json
import shutil
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal, final

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.files import refuse_overwrite
from penstock.record import Batches, Record, Requests
from penstock.serve.messages import StageDone
from penstock.serve.spec import ServerSpec

Kind = Literal["requests", "batches"]

ROWS_AT_ONCE = 512
"""Rows are written when there are so many, and whenever :meth:`RowFiles.flush` is called: each second."""
ROWS_OF_A_FILE = 2**18
MOST_FILES = 64
"""16 million samples a gateway, 1.3 GB."""

COLUMNS: dict[Kind, tuple[str, ...]] = {
    "requests": (*Requests.__dataclass_fields__, "epoch"),
    "batches": (*Batches.__dataclass_fields__, "epoch"),
}


@final
class RowFiles:
    """The files of one process. ``owner`` is the number of a gateway or dispatcher, so no two write to one file."""

    def __init__(
        self,
        folder: Path,
        kind: Kind,
        owner: int,
        *,
        rows_of_a_file: int = ROWS_OF_A_FILE,
        most_files: int = MOST_FILES,
    ) -> None:
        self._folder = folder
        self._name = f"{kind}-{owner}"
        self._columns = len(COLUMNS[kind])
        self._rows_of_a_file, self._most_files = rows_of_a_file, most_files
        self._buffer = array("q")
        self._file_number = -1
        self._rows_left = 0

    def add(self, values: Sequence[int]) -> None:
        """One row, with the values of :data:`COLUMNS` in order."""
        self._buffer.extend(values)
        if len(self._buffer) >= ROWS_AT_ONCE * self._columns:
            self.flush()

    def flush(self) -> None:
        """Write what was added."""
        rows = len(self._buffer) // self._columns
        first = 0
        while first < rows:
            if self._rows_left == 0:
                self._next_file()
            count = min(rows - first, self._rows_left)
            piece = self._buffer[first * self._columns : (first + count) * self._columns]
            with self._path(self._file_number).open("ab") as file:
                file.write(piece.tobytes())
            first += count
            self._rows_left -= count
        del self._buffer[:]

    def _next_file(self) -> None:
        self._file_number += 1
        self._rows_left = self._rows_of_a_file
        if self._file_number >= self._most_files:
            self._path(self._file_number - self._most_files).unlink(missing_ok=True)

    def _path(self, number: int) -> Path:
        return self._folder / f"{self._name}-{number:06d}.rows"


@final
class LiveBatches:
    """The dispatcher's rows, in order of completion."""

    def __init__(self, folder: Path, dispatcher: int) -> None:
        self._files = RowFiles(folder, "batches", dispatcher)
        self.flush = self._files.flush

    def add(self, done: StageDone, spec: ServerSpec) -> None:
        """One batch at one stage; ``spec`` is that of its epoch."""
        stage = spec.stage_at(done.pipeline, done.stage)
        self._files.add(
            (
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
                done.epoch,
            )
        )


@dataclass(frozen=True)
class _Epoch:
    """The models of one plan, and how many pipelines each has."""

    models: list[str]
    pipelines: list[int]


ROW_FILES = ("*.rows", "epoch-*.json")
"""What a folder of rows holds."""


def rows_beside(record: Path, *, force: bool = False) -> Path:
    """The new folder for the rows of ``record``, beside it: so the place is taken from the start.

    Raises :class:`BadInputError` if either is there already, unless ``force``.
    """
    folder = record.with_name(f"{record.name}.live")
    if folder.exists() and not force:
        raise BadInputError(
            f"{folder}: holds the rows of a server that runs or was killed. "
            f"Make a record of them with 'penstock join-record {folder} -o RECORD', or pass --force to drop them."
        )
    refuse_overwrite(folder, force, ROW_FILES)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise BadInputError(
            f"{folder}: cannot be made ({error.strerror}). Choose a writable place."
        ) from None
    return folder


def note_epoch(spec: ServerSpec, folder: Path) -> None:
    """Leave beside the rows what is needed to join those of ``spec``'s epoch."""
    offsets: list[int] = spec.table["pipeline_offsets"]
    counts = [stop - start for start, stop in pairwise(offsets)]
    document = {"models": [model.name for model in spec.models], "pipelines": counts}
    (folder / f"epoch-{spec.epoch}.json").write_text(json.dumps(document))


def joined_record(folder: Path) -> Record:
    """The record of the rows in ``folder``: requests by arrival, batches by start, times from the first arrival.

    If plans were switched, the pipelines of a model in a later plan are numbered after those of the earlier ones.
    Raises :class:`BadInputError` if ``folder`` holds no rows of a server.
    """
    epochs = _epochs(folder)
    names = list(dict.fromkeys(name for epoch in epochs.values() for name in epoch.models))
    requests = _renumbered(_read(folder, "requests", "arrival_us"), epochs, names)
    batches = _renumbered(_read(folder, "batches", "start_us"), epochs, names)
    # A batch that failed, was dropped or was cancelled in its first stage has no row.
    requests["batch"] = np.where(np.isin(requests["batch"], batches["batch"]), requests["batch"], -1)
    origin_us = int(requests["arrival_us"].min(initial=2**62)) if requests["arrival_us"].size else 0
    return Record(
        models=tuple(names),
        requests=Requests(**_from_origin(requests, origin_us)),
        batches=Batches(**_from_origin(batches, origin_us)),
        source="measured",
    )


def _epochs(folder: Path) -> dict[int, _Epoch]:
    found = {}
    try:
        for path in folder.glob("epoch-*.json"):
            found[int(path.stem.removeprefix("epoch-"))] = _Epoch(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise BadInputError(f"{folder}: cannot be read as rows of a server ({error}).") from None
    if not found:
        raise BadInputError(f"{folder}: holds no rows of a server. It must be the folder that serve wrote.")
    return dict(sorted(found.items()))


def _read(folder: Path, kind: Kind, order_by: str) -> dict[str, I64]:
    names = COLUMNS[kind]
    pieces = [np.zeros((0, len(names)), np.int64)]
    for path in sorted(folder.glob(f"{kind}-*.rows")):
        whole = path.stat().st_size // (8 * len(names)) * len(names)
        pieces.append(np.fromfile(path, np.int64, whole).reshape(-1, len(names)))
    rows = np.concatenate(pieces)
    rows = rows[np.argsort(rows[:, names.index(order_by)], kind="stable")]
    return {name: np.ascontiguousarray(rows[:, at]) for at, name in enumerate(names)}


def _renumbered(columns: dict[str, I64], epochs: dict[int, _Epoch], names: Sequence[str]) -> dict[str, I64]:
    """Models by their place in ``names``, pipelines over all epochs; the column ``epoch`` is gone."""
    of_epoch = columns.pop("epoch")
    before = dict.fromkeys(names, 0)
    model, pipeline = columns["model"].copy(), columns["pipeline"].copy()
    for number, epoch in epochs.items():
        for place, name in enumerate(epoch.models):
            rows = (of_epoch == number) & (columns["model"] == place)
            model[rows] = names.index(name)
            pipeline[rows & (columns["pipeline"] >= 0)] += before[name]
        for name, count in zip(epoch.models, epoch.pipelines, strict=True):
            before[name] += count
    return columns | {"model": model, "pipeline": pipeline}


def _from_origin(columns: dict[str, I64], origin_us: int) -> dict[str, I64]:
    """Times counted from ``origin_us``; -1 ("does not apply") stays."""
    moments = {"arrival_us", "deadline_us", "finish_us", "queued_us", "start_us", "end_us"}
    return {
        name: np.where(column == -1, -1, column - origin_us) if name in moments else column
        for name, column in columns.items()
    }
