"""Azure Functions 2019: a row a function, a column a minute of the day, cells the invocations in it.

Described in AzurePublicDataset/AzureFunctionsDataset2019.md (CC-BY):
``HashOwner,HashApp,HashFunction,Trigger,1,2,...``, up to 1440. A stream is a function of an application of an owner,
its class the application, its type the trigger.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.formats.counting import MOST_COUNT, Series, check_length
from penstock.traffic.formats.lines import Chunk, read_header, read_table

BIN_S = 60
HEADER = ("HashOwner", "HashApp", "HashFunction", "Trigger")
# A row has 1440 cells: few enough rows that a chunk stays at some tens of megabytes.
_ROWS = 256


def matches(header: list[str]) -> bool:
    """Whether ``header`` is of this format (the data set's files of durations and memory are not)."""
    return tuple(header[: len(HEADER)]) == HEADER


def read_series(path: Path) -> Iterator[Series]:
    """The counts of each function by minute. Raises :class:`BadInputError` with line, value, rule and fix."""
    minutes = read_header(path)[len(HEADER) :]
    if not minutes or minutes != [str(minute) for minute in range(1, len(minutes) + 1)]:
        raise BadInputError(
            f"{path}: line 1: after {','.join(HEADER)} must come the minutes 1,2,3,... without a gap. "
            f"Correct the header."
        )
    check_length(path, 1, len(minutes), BIN_S)
    for chunk in read_table(path, rows=_ROWS):
        yield from _chunk_series(chunk, minutes)


def _chunk_series(chunk: Chunk, minutes: list[str]) -> Iterator[Series]:
    table = np.stack([chunk.numbers(minute, most=MOST_COUNT, whole=True) for minute in minutes], axis=1)
    owner, app, function, trigger = (chunk.names(name) for name in HEADER)
    for row, counts in enumerate(table.astype(np.int64)):
        application = f"{owner[row]}/{app[row]}"
        yield Series(
            counts,
            {"stream": f"{application}/{function[row]}", "class": application, "type": trigger[row]},
        )
