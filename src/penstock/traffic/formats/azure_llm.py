"""Azure LLM inference traces (2023 and later): ``TIMESTAMP``, a date and time in UTC, and token counts.

Described in AzurePublicDataset/AzureLLMInferenceDataset2023.md (CC-BY 4.0). The rows are in order of time. Only the
time is read: penstock serves requests of one sample each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock.arrays import I64
from penstock.traffic.formats.gather import Piece, gather, whole_us
from penstock.traffic.formats.lines import Chunk, read_table
from penstock.traffic.trace import Trace
from penstock.units import US_PER_S

_TIME = re.compile(r"((?:19[7-9]|20\d)\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d)(\.\d+)?(?:Z|\+00:00)?", re.ASCII)
_RULE = (
    "must be a date and time in UTC from 1970 to 2099, such as 2023-11-16 18:17:03.9799600. "
    "Correct or remove the line."
)


def matches(header: list[str]) -> bool:
    """Whether ``header`` is of this format."""
    return "TIMESTAMP" in header


def load(path: Path) -> Trace:
    """The trace in ``path``. Raises :class:`BadInputError` with line, value, rule and fix."""
    return gather(path, _pieces(path), promises_order=True)


def _pieces(path: Path) -> Iterator[Piece]:
    for chunk in read_table(path):
        yield Piece(chunk.lines, _times(chunk))


def _times(chunk: Chunk) -> I64:
    cells = chunk.columns["TIMESTAMP"]
    found = [_TIME.fullmatch(cell) for cell in cells]
    parts = [match.groups() for match in found if match is not None]
    if len(parts) < len(cells):
        chunk.refuse(found.index(None), "TIMESTAMP", _RULE)
    try:
        seconds = np.array([whole for whole, _ in parts], "datetime64[s]").astype(np.int64)
    except ValueError:
        chunk.refuse(next(i for i, (whole, _) in enumerate(parts) if not _is_date(whole)), "TIMESTAMP", _RULE)
    return seconds * US_PER_S + whole_us(np.array([float(fraction or 0) for _, fraction in parts]))


def _is_date(text: str) -> bool:
    try:
        np.datetime64(text, "s")
    except ValueError:  # the 30th of February
        return False
    return True
