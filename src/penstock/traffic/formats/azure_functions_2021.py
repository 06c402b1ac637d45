"""Azure Functions 2021: ``app,func,end_timestamp,duration``, a row an invocation, times in seconds.

Described in AzurePublicDataset/AzureFunctionsInvocationTrace2021.md (CC-BY). An invocation arrives at its end less its
duration. A function's name is unique within its application only, so a stream is an (application, function) pair,
and its class the application. Rows are in no promised order.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from penstock.errors import BadInputError
from penstock.traffic.formats.gather import LATEST_S, Piece, gather, whole_us
from penstock.traffic.formats.lines import read_table
from penstock.traffic.trace import Trace

HEADER = ("app", "func", "end_timestamp", "duration")

FULL_NAME = "AzureFunctionsInvocationTraceForTwoWeeksJan2021.txt"
FULL_SHA256 = "d56368ef194baa8d418304bd2f87cca67668ced0d117bd89ad4ef3cf836457d2"
FULL_ROWS = 1_980_951
"""The published file of 14 days; a file of its name must be that file."""


def matches(header: list[str]) -> bool:
    """Whether ``header`` is of this format."""
    return set(HEADER) <= set(header)


def load(path: Path) -> Trace:
    """The trace in ``path``. Raises :class:`BadInputError` with line, value, rule and fix."""
    if path.name == FULL_NAME:
        _check_digest(path)
    return gather(path, _pieces(path), promises_order=False)


def _pieces(path: Path) -> Iterator[Piece]:
    for chunk in read_table(path):
        # The difference may be below 0: an invocation that began before the recording.
        start_s = chunk.numbers("end_timestamp", most=LATEST_S) - chunk.numbers("duration", most=LATEST_S)
        apps = chunk.names("app")
        streams = [f"{app}/{func}" for app, func in zip(apps, chunk.names("func"), strict=True)]
        yield Piece(chunk.lines, whole_us(start_s), {"stream": streams, "class": apps})


def _check_digest(path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != FULL_SHA256:
        raise BadInputError(
            f"{path}: has the name of the published trace of {FULL_ROWS:,} invocations, but SHA-256 {digest} where "
            f"that has {FULL_SHA256}. Fetch it again; or rename the file if it is meant to differ."
        )
