"""A profile on disk: a folder with ``profile.json`` (all but latencies) and ``latency.csv``.

Everything is read back before it is kept, so a folder that :func:`save_profile` made always loads.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from penstock.errors import BadInputError
from penstock.files import read_json, read_text, validate, write_whole
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.profile.cutting import Cut
from penstock.profile.latency_csv import format_tables, parse_tables
from penstock.profile.links import Link
from penstock.profile.measured_machine import Machine, WorkerCosts
from penstock.profile.stored_header import StoredHeader, StoredProvenance, cuts_of
from penstock.profile.table import Block, BlockMemory, LatencyTable, Profile, Provenance, SharedWeights

HEADER = "profile.json"
LATENCIES = "latency.csv"
PROFILE_FILES = (HEADER, LATENCIES)


def load_profile(folder: Path) -> Profile:
    """The profile in ``folder``, validated whole.

    Raises :class:`BadInputError` that names the file, the field or line, the value, the rule and the fix.
    """
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "no such folder"
        raise BadInputError(
            f"{folder}: {what}. A profile is a folder with {HEADER} and {LATENCIES}: "
            f"check the path, or make one with 'penstock profile'."
        )
    return _assemble(read_json(folder / HEADER), read_text(folder / LATENCIES), folder)


def save_profile(profile: Profile, folder: Path, *, force: bool = False) -> None:
    """Write ``profile`` to ``folder``, whole or not at all; the model file is named relative to ``folder``.

    Raises :class:`BadInputError` if the folder exists and ``force`` is not given, if it is no profile, or
    if the profile breaks a rule of the format.
    """
    document = _document(profile, folder)
    _check_shapes(profile, folder)
    table_text = format_tables(profile.tables, [block.name for block in profile.blocks])
    _assemble(document, table_text, folder)

    def write(made: Path) -> None:
        made.mkdir()
        (made / HEADER).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        (made / LATENCIES).write_text(table_text, encoding="utf-8")

    write_whole(folder, write, force=force, folder_of=PROFILE_FILES)


def _assemble(document: Any, table_text: str, folder: Path) -> Profile:
    header = validate(StoredHeader, document, folder / HEADER)
    tables = parse_tables(table_text, [block.name for block in header.blocks], folder / LATENCIES)
    _check_classes(header, tables, folder)
    return Profile(
        model=header.model.name,
        blocks=tuple(
            Block(b.name, b.operators, b.parameter_bytes, b.peak_activation_bytes) for b in header.blocks
        ),
        boundary_bytes=header.boundary_bytes,
        tables=tables,
        provenance=_provenance(header.provenance),
        whole_us=header.whole_us,
        model_file=None if header.model.file is None else _absolute(folder, header.model.file),
        model_sha256=header.model.sha256,
        class_provenance={name: _provenance(p) for name, p in header.class_provenance.items()},
        worker_costs={name: WorkerCosts(**costs.model_dump()) for name, costs in header.worker_costs.items()},
        block_memory={
            name: tuple(BlockMemory(**one.model_dump()) for one in memory)
            for name, memory in header.block_memory.items()
        },
        links={
            name: tuple(Link(**one.model_dump()) for one in links) for name, links in header.links.items()
        },
        cuts={name: Cut(c.boundaries, c.whole_us, c.cut_us) for name, c in cuts_of(header).items()},
        shared_weights=tuple(SharedWeights(one.size_bytes, one.blocks) for one in header.shared_weights),
        reading=ReadOptions(**header.model.reading.model_dump()) if header.model.reading else AS_IT_IS,
    )


def _check_classes(
    header: StoredHeader, tables: Mapping[tuple[str, int], LatencyTable], folder: Path
) -> None:
    known = sorted({device_class for device_class, _ in tables})
    fields: Mapping[str, Iterable[str]] = {
        "whole_us": header.whole_us,
        "class_provenance": header.class_provenance,
        "worker_costs": header.worker_costs,
        "block_memory": header.block_memory,
        "links": header.links,
        "cuts": cuts_of(header),
    }
    for field, named in fields.items():
        for device_class in named:
            if device_class not in known:
                raise BadInputError(
                    f"{folder / HEADER}: {field}: device class {device_class!r} has no latencies in "
                    f"{LATENCIES} (it has {', '.join(known)}). Correct the name, or add the rows."
                )


def _check_shapes(profile: Profile, folder: Path) -> None:
    """An array of the wrong shape would be written short and look like another profile."""
    for (device_class, share), table in profile.tables.items():
        rows = table.latency_us.shape[0]
        others = [one for one in (table.p99_us, table.device_us) if one is not None]
        if rows != len(profile.blocks) or any(one.shape != table.latency_us.shape for one in others):
            raise BadInputError(
                f"{folder}: device class {device_class!r}, share {share}: the table has {rows} rows for "
                f"{len(profile.blocks)} blocks, or p99_us or device_us has another shape. Give one row a block."
            )


def _document(profile: Profile, folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = {
        "version": 1,
        "model": {
            "name": profile.model,
            "file": None if profile.model_file is None else os.path.relpath(profile.model_file, folder),
            "sha256": profile.model_sha256,
        },
        "blocks": [
            {
                "name": block.name,
                "operators": list(block.operators),
                "parameter_bytes": block.parameter_bytes,
                "peak_activation_bytes": block.peak_activation_bytes,
            }
            for block in profile.blocks
        ],
        "boundary_bytes": list(profile.boundary_bytes),
        "whole_us": dict(profile.whole_us),
        "provenance": _told(profile.provenance),
        "class_provenance": {name: _told(p) for name, p in profile.class_provenance.items()},
        "worker_costs": {name: vars(costs) for name, costs in profile.worker_costs.items()},
        "block_memory": {
            name: [vars(one) for one in memory] for name, memory in profile.block_memory.items()
        },
    }
    if profile.links:
        document["links"] = {name: [vars(one) for one in links] for name, links in profile.links.items()}
    if profile.shared_weights:
        document["shared_weights"] = [asdict(one) for one in profile.shared_weights]
    if profile.reading != AS_IT_IS:
        document["model"]["reading"] = asdict(profile.reading)
    if profile.cuts:
        document["cuts"] = {"version": 1, "by_class": {name: vars(cut) for name, cut in profile.cuts.items()}}
    return document


def _told(provenance: Provenance) -> dict[str, Any]:
    machine = provenance.machine
    return {**vars(provenance), "machine": None if machine is None else vars(machine)}


def _provenance(read: StoredProvenance) -> Provenance:
    machine = None if read.machine is None else Machine(**read.machine.model_dump())
    return Provenance(read.kind, read.device, read.software, read.date, read.seed, read.note, machine)


def _absolute(folder: Path, file: str) -> str:
    # Lexical, as os.path.relpath is: the pair gives back the very path that was saved.
    return os.path.normpath(folder.absolute() / file)
