"""The record: what happened, simulated or real, in the same columns.

A record in files is a folder with two Parquet tables: ``requests.parquet``, one row a request, and
``batches.parquet``, one row a batch at a stage. Models and outcomes are text there, so that any reader of
Parquet can use them; the order of the models, the source and the version are in the schema's metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.files import write_whole

if TYPE_CHECKING:
    import pyarrow as pa


class Outcome(IntEnum):
    """How a request ended; stored by code, written to files as text.

    ``CANCELLED``: its client left before the deadline. The server could still have met it, or missed it: nobody knows,
    so an attainment leaves it out (:func:`is_judged`).
    """

    MET = 0
    LATE = 1
    DROPPED_EARLY = 2
    DROPPED_DEADLINE = 3
    ERROR = 4
    CANCELLED = 5

    @property
    def text(self) -> str:
        """The name used in files: ``met``, ``late``, ``dropped:early``, ``dropped:deadline``, ``error``,
        ``cancelled``."""
        return self.name.lower().replace("_", ":", 1)


def is_judged(outcome: I64) -> NDArray[np.bool_]:
    """Which of some requests count for an attainment: all but those whose client left before the deadline."""
    judged: NDArray[np.bool_] = outcome != Outcome.CANCELLED
    return judged


@dataclass(frozen=True)
class Requests:
    """One row a request, in order of arrival. int64 columns; ``-1`` where a column does not apply.

    ``pipeline`` counts within the model; ``batch`` is a row of ``Batches.batch``; ``finish_us`` is -1
    for a request that was dropped.
    """

    model: I64
    request: I64
    arrival_us: I64
    deadline_us: I64
    pipeline: I64
    batch: I64
    finish_us: I64
    outcome: I64


@dataclass(frozen=True)
class Batches:
    """One row a batch at a stage, or a row for each piece of it if the stage is split; ``size`` is then that of the
    piece. ``worker`` counts over the plan, as in its placement.

    ``queued_us``: when the batch reached the stage (dispatch time for the first); ``start_us``,
    ``end_us``: the worker's time; ``transfer_us``: time on the network before the stage.
    """

    batch: I64
    model: I64
    pipeline: I64
    stage: I64
    worker: I64
    size: I64
    queued_us: I64
    start_us: I64
    end_us: I64
    transfer_us: I64


WINDOW = ("window_start_us", "window_stop_us")
"""The entries of ``Record.about`` that give the window of arrivals that count: without the warm-up."""


@dataclass(frozen=True)
class Record:
    """What happened: ``models`` are the names that ``model`` columns index."""

    models: tuple[str, ...]
    requests: Requests
    batches: Batches
    source: str
    """``simulated`` or ``measured``."""
    about: Mapping[str, str | int | float] = field(default_factory=dict)
    """How it was made, for readers: the command, seed, policy, arrivals. See :data:`WINDOW`."""

    @property
    def window_us(self) -> tuple[int, int] | None:
        """The arrivals that count, ``[start, stop)``, as the command counted that wrote the record. None: all."""
        start_us, stop_us = (self.about.get(key) for key in WINDOW)
        if not isinstance(start_us, int) or not isinstance(stop_us, int):
            return None
        return start_us, stop_us


RECORD_FILES = ("requests.parquet", "batches.parquet")
"""What a record's folder holds, and all that ``--force`` replaces."""
VERSION = 1
_KEY = b"penstock"
"""The entry of the Parquet schema's metadata that holds ours, as JSON."""
_SOURCES = ("simulated", "measured")
_OUTCOMES = tuple(outcome.text for outcome in Outcome)


def save_record(record: Record, path: Path, *, force: bool = False) -> None:
    """Write ``record`` as the folder ``path``, whole or not at all.

    Raises :class:`BadInputError` where ``path`` exists and ``force`` is not given, or is no record.
    """
    write_whole(path, lambda made: _write(record, made), force=force, folder_of=RECORD_FILES)


def load_record(path: Path) -> Record:
    """The record in the folder ``path``, checked: columns, types, names, and batches that requests refer to.

    Raises :class:`BadInputError` that names the file, the column, the value and the rule.
    """
    header, requests = _read_table(path / "requests.parquet", Requests)
    other, batches = _read_table(path / "batches.parquet", Batches)
    if header != other:
        raise BadInputError(
            f"{path}: requests.parquet and batches.parquet are of different records. Save it anew."
        )
    record = Record(
        tuple(header["models"]), Requests(**requests), Batches(**batches), header["source"], header["about"]
    )
    sent = record.requests.batch[record.requests.batch >= 0]
    dangling = sent[~np.isin(sent, record.batches.batch)]
    if dangling.size:
        raise BadInputError(
            f"{path}: requests.parquet: batch (={int(dangling[0])}) is not in batches.parquet. Save it anew."
        )
    return record


def _write(record: Record, folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir()
    header = {
        "version": VERSION,
        "models": record.models,
        "source": record.source,
        "about": dict(record.about),
    }
    for name, table in (("requests", record.requests), ("batches", record.batches)):
        columns: dict[str, Any] = {one.name: getattr(table, one.name) for one in fields(table)}
        columns["model"] = _text(columns["model"], record.models)
        if "outcome" in columns:
            columns["outcome"] = _text(columns["outcome"], _OUTCOMES)
        made = pa.table(columns).replace_schema_metadata({_KEY: json.dumps(header)})
        pq.write_table(made, folder / f"{name}.parquet", compression="zstd")


def _text(codes: I64, names: Sequence[str]) -> pa.DictionaryArray:
    import pyarrow as pa

    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names, pa.string()))


def _read_table(path: Path, kind: type[Requests | Batches]) -> tuple[dict[str, Any], dict[str, I64]]:
    """Header and columns of one file of a record."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except FileNotFoundError:
        raise BadInputError(
            f"{path}: no such file. A record is a folder that 'simulate -o' writes."
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise BadInputError(f"{path}: is not a readable Parquet file ({error}).") from None
    header = _header(path, table)
    names = {"model": header["models"], "outcome": _OUTCOMES}
    expected = [one.name for one in fields(kind)]
    missing = [name for name in expected if name not in table.column_names]
    if missing:
        raise BadInputError(f"{path}: columns {missing} are missing; a record has {expected}.")
    return header, {name: _column(path, table, name, names.get(name)) for name in expected}


def _header(path: Path, table: pa.Table) -> dict[str, Any]:
    """Our metadata, checked."""
    text = (table.schema.metadata or {}).get(_KEY)
    if text is None:
        raise BadInputError(f"{path}: has no penstock metadata. Is it part of a record?")
    try:
        header = json.loads(text)
        version, models, source = header["version"], header["models"], header["source"]
    except (ValueError, TypeError, KeyError):
        raise BadInputError(
            f"{path}: its penstock metadata is damaged ({text!r:.80}). Save it anew."
        ) from None
    if version != VERSION:
        raise BadInputError(
            f"{path}: version (={version!r}) must be {VERSION}: use the release that wrote it."
        )
    if not isinstance(models, list) or not all(isinstance(m, str) for m in models):
        raise BadInputError(f"{path}: models (={models!r}) must be a list of names. Save it anew.")
    if source not in _SOURCES:
        raise BadInputError(f"{path}: source (={source!r}) must be one of {', '.join(_SOURCES)}.")
    about = header.get("about", {})
    if not isinstance(about, dict) or not all(isinstance(v, str | int | float) for v in about.values()):
        raise BadInputError(f"{path}: about (={about!r:.80}) must hold texts and numbers. Save it anew.")
    return {"version": version, "models": models, "source": source, "about": about}


def _column(path: Path, table: pa.Table, name: str, texts: Sequence[str] | None) -> I64:
    """One column as int64; ``texts`` turns names into codes."""
    import pyarrow as pa

    column = table[name]
    if column.null_count:
        raise BadInputError(f"{path}: {name}: holds {column.null_count} empty values; every row needs one.")
    if texts is None:
        if not pa.types.is_integer(column.type):
            raise BadInputError(f"{path}: {name}: is of type {column.type}, but whole numbers are needed.")
        return np.ascontiguousarray(column.to_numpy(), dtype=np.int64)
    # Files of this project hold such columns as dictionaries; other writers may hold plain text.
    is_coded = pa.types.is_dictionary(column.type)
    chunks = column if is_coded else column.cast(pa.string()).dictionary_encode()
    coded = chunks.unify_dictionaries().combine_chunks()
    found = coded.dictionary.to_pylist()
    inverse = coded.indices.to_numpy(zero_copy_only=False)
    used = np.bincount(inverse, minlength=len(found))
    unknown = [text for text, count in zip(found, used, strict=True) if count and text not in texts]
    if unknown:
        raise BadInputError(f"{path}: {name} (={unknown[0]!r}) must be one of {', '.join(texts)}.")
    codes = np.array([texts.index(text) if text in texts else -1 for text in found], np.int64)
    return codes[inverse] if len(codes) else np.zeros(0, np.int64)
