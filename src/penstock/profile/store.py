"""A profile on disk: a folder with ``profile.json`` (all but latencies) and ``latency.csv``.

What is written has been read back first, so a folder that :func:`save_profile` made always loads.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator
from pydantic.functional_validators import AfterValidator

from penstock.errors import BadInputError
from penstock.files import StrictModel, read_json, read_text, validate, within, write_whole
from penstock.profile.latency_csv import format_tables, parse_tables
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

HEADER = "profile.json"
LATENCIES = "latency.csv"
PROFILE_FILES = (HEADER, LATENCIES)
"""What a profile's folder holds, and all that ``--force`` replaces."""


def _one_line(text: str) -> str:
    # A name stands in one cell of one line.
    if not text or any(ord(character) < 0x20 or ord(character) == 0x7F for character in text):
        raise ValueError("must be a text of one line, not empty and without control characters")
    return text


def _sha256(text: str) -> str:
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise ValueError("must be 64 lower-case hexadecimal digits; write null where it is not known")
    return text


Name = Annotated[str, AfterValidator(_one_line)]
Bytes = Annotated[int, within(0, 2**53)]


def _iso_8601(text: str) -> str:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("must be an ISO 8601 date such as 2025-01-31 or 2025-01-31T09:30:00+00:00") from None
    return text


class _Model(StrictModel):
    name: Name
    file: Name | None = None
    sha256: Annotated[str, AfterValidator(_sha256)] | None = None


class _Block(StrictModel):
    name: Name
    operators: tuple[str, ...]
    parameter_bytes: Bytes
    peak_activation_bytes: Bytes


class _Provenance(StrictModel):
    kind: Literal["measured", "imported", "predicted"]
    device: str
    software: str
    date: Annotated[str, AfterValidator(_iso_8601)]
    seed: int | None = None
    note: str = ""


class _Header(StrictModel):
    """``profile.json``; ``class_provenance`` holds the device classes whose figures come from elsewhere."""

    version: Literal[1]
    model: _Model
    blocks: Annotated[tuple[_Block, ...], Field(min_length=1)]
    boundary_bytes: tuple[Bytes, ...]
    whole_us: dict[Name, Annotated[int, Field(gt=0)]] = Field(default_factory=dict)
    provenance: _Provenance
    class_provenance: dict[Name, _Provenance] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        names = [block.name for block in self.blocks]
        if len(set(names)) != len(names):
            twice = next(name for name in names if names.count(name) > 1)
            raise ValueError(
                f"block name {twice!r} appears twice in blocks, but names must differ; rename one"
            )
        if len(self.boundary_bytes) != len(names) + 1:
            raise ValueError(
                f"boundary_bytes has {len(self.boundary_bytes)} entries for {len(names)} blocks, but needs "
                f"{len(names) + 1}: one before each block, and one after the last"
            )
        return self


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
    header = validate(_Header, document, folder / HEADER)
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
    )


def _check_classes(header: _Header, tables: Mapping[tuple[str, int], LatencyTable], folder: Path) -> None:
    known = sorted({device_class for device_class, _ in tables})
    for field, named in (("whole_us", header.whole_us), ("class_provenance", header.class_provenance)):
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
        p99_differs = table.p99_us is not None and table.p99_us.shape != table.latency_us.shape
        if rows != len(profile.blocks) or p99_differs:
            raise BadInputError(
                f"{folder}: device class {device_class!r}, share {share}: the table has {rows} rows for "
                f"{len(profile.blocks)} blocks, or p99_us has another shape. Give one row a block."
            )


def _document(profile: Profile, folder: Path) -> dict[str, Any]:
    return {
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
        "provenance": vars(profile.provenance),
        "class_provenance": {name: vars(p) for name, p in profile.class_provenance.items()},
    }


def _provenance(read: _Provenance) -> Provenance:
    return Provenance(read.kind, read.device, read.software, read.date, read.seed, read.note)


def _absolute(folder: Path, file: str) -> str:
    # Lexical, as os.path.relpath is: the pair gives back the very path that was saved.
    return os.path.normpath(folder.absolute() / file)
