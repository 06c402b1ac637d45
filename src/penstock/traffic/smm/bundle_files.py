"""The bundle of a semi-Markov model: ``bundle.json``, ``machine.json`` and ``tables.npz`` (read without pickle)."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.generator.held_out import scores_of
from penstock.traffic.generator.protocol import HEADER_FILE, VERSION, read_header
from penstock.traffic.machine import read_machine
from penstock.traffic.machine.machine_file import machine_document
from penstock.traffic.smm.delay_tables import DelayTables
from penstock.traffic.smm.model import SemiMarkov

MOST_EVENTS = 1_000_000
"""Of a stream: a damaged bundle must not make a generator draw for ever."""
_PARTS = ("begin", "stays", "inner")
_FIELDS = {"chance": np.float64, "begin": np.int64, "size": np.int64, "points": np.float32}
_OWN = {
    "class_share": np.float64,
    "group_class": np.int64,
    "group_weight": np.float64,
    "begin_state": np.int16,
}


def save(models: Mapping[int | None, SemiMarkov], scores: Mapping[str, float], folder: Path) -> None:
    """Write the bundle into ``folder``."""
    last = list(models.values())[-1]
    header = {
        "version": VERSION,
        "method": "smm",
        "events": last.events,
        "classes": last.classes,
        "window_us": last.window_us,
        "hours": list(models),
        "most_events": [model.most_events for model in models.values()],
        "holds_trace": False,
        "scores": dict(scores),
    }
    (folder / HEADER_FILE).write_text(json.dumps(header, indent=1) + "\n", encoding="utf-8")
    for number, model in enumerate(models.values()):
        machine = json.dumps(machine_document(model.machine), indent=1)
        (folder / f"machine-{number}.json").write_text(machine + "\n", encoding="utf-8")
        arrays = {
            f"{part}.{field}": getattr(getattr(model, part), field) for part in _PARTS for field in _FIELDS
        }
        arrays |= {name: getattr(model, name) for name in _OWN}
        np.savez_compressed(folder / f"tables-{number}.npz", **arrays)


def load(folder: Path) -> tuple[Mapping[int | None, SemiMarkov], Mapping[str, float]]:
    """The models by hour, checked so that drawing reads inside their tables only, and their scores."""
    header = read_header(folder)
    hours = header.get("hours")
    if not isinstance(hours, list) or not hours or not all(h is None or h in range(24) for h in hours):
        raise BadInputError(
            f"{folder / HEADER_FILE}: hours (={hours!r:.40}) must be a list of hours. Fit anew."
        )
    models = {hour: _model(folder, number, header) for number, hour in enumerate(hours)}
    return models, scores_of(header, folder / HEADER_FILE)


def _model(folder: Path, number: int, header: Mapping[str, Any]) -> SemiMarkov:
    path = folder / f"tables-{number}.npz"
    machine = read_machine(folder / f"machine-{number}.json")
    arrays = read_arrays(path)
    wanted = {f"{part}.{field}": kind for part in _PARTS for field, kind in _FIELDS.items()} | _OWN
    for name, kind in wanted.items():
        if name not in arrays or arrays[name].dtype != kind:
            raise BadInputError(f"{path}: {name} is missing or of another type. Fit the model anew.")
    try:
        model = SemiMarkov(
            machine,
            tuple(map(str, header["events"])),
            tuple(map(str, header["classes"])),
            arrays["class_share"],
            int(header["window_us"]),
            arrays["group_class"],
            arrays["group_weight"],
            _tables(arrays, "begin"),
            arrays["begin_state"],
            _tables(arrays, "stays"),
            _tables(arrays, "inner"),
            int(header["most_events"][number]),
        )
        _check(model)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise BadInputError(f"{folder}: is damaged ({error}). Fit the model anew.") from None
    return model


def read_arrays(path: Path) -> Mapping[str, Any]:
    """The arrays of an ``.npz`` file; nothing is unpickled. Raises :class:`BadInputError` for a damaged one."""
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file. Is the bundle whole?") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise BadInputError(f"{path}: is damaged ({error}). Fit the model anew.") from None


def _tables(arrays: Mapping[str, Any], part: str) -> DelayTables:
    return DelayTables(*(np.ascontiguousarray(arrays[f"{part}.{field}"]) for field in _FIELDS))


def _check(model: SemiMarkov) -> None:
    groups, events, states = len(model.group_class), len(model.events), len(model.machine.states)
    wide = len(model.machine.groups)
    model.machine.table_for(model.events)
    shapes = {"begin": (groups, 1), "stays": (groups, wide), "inner": (groups, wide * (events + 1))}
    for part, shape in shapes.items():
        tables: DelayTables = getattr(model, part)
        if any(array.shape != (*shape, events) for array in (tables.chance, tables.begin, tables.size)):
            raise ValueError(f"{part} has another shape")
        inside = (tables.begin >= 0) & (tables.size >= 0) & (tables.begin + tables.size <= len(tables.points))
        possible = (tables.chance >= 0) & ((tables.chance == 0) | (tables.size > 0))
        if not (inside & possible).all() or not np.isfinite(tables.points).all():
            raise ValueError(f"{part} points outside its tables")
    if not (model.begin.chance.sum(axis=(1, 2))[model.group_weight > 0] > 0).all():
        raise ValueError("a group has no first event")
    if (
        model.begin_state.shape != (groups, events)
        or not ((model.begin_state >= 0) & (model.begin_state < states)).all()
    ):
        raise ValueError("begin_state is none of the states")
    if model.class_share.shape != (len(model.classes),) or model.group_weight.shape != (groups,):
        raise ValueError("classes or groups have another number")
    if model.window_us < 1 or not 1 <= model.most_events <= MOST_EVENTS:
        raise ValueError(f"window_us or most_events is below 1, or the latter above {MOST_EVENTS:,}")
