"""Counters of other hosts, so that any gateway answers ``/metrics`` for all processes of the server.

Each second the agent of a host with gateways sends the files of counters that changed there, and the head sends it
those of all others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import final

from penstock.errors import BadInputError
from penstock.serve.hosts.agent_messages import CountersPart
from penstock.serve.observe.counter_file import FOLDER, counters_path, exported, imported

_NAME = re.compile(r"\w[\w-]*", re.ASCII)


@final
class CountersOut:
    """The files of counters in the run folder ``folder`` whose name ``is_meant``, for another host."""

    def __init__(self, folder: Path, is_meant: Callable[[str], bool]) -> None:
        self._folder = folder
        self._is_meant = is_meant
        self._sent: dict[str, bytes] = {}

    def forget(self) -> None:
        """The other side has nothing."""
        self._sent = {}

    def parts(self) -> Iterator[CountersPart]:
        """What changed since the last time."""
        for path in sorted((self._folder / FOLDER).glob("*.counters")):
            if not self._is_meant(path.stem):
                continue
            content = exported(path)
            if self._sent.get(path.stem) != content:
                self._sent[path.stem] = content
                yield CountersPart(path.stem, content)


def gateway_of(name: str) -> int | None:
    """The number of the gateway whose counters have this name; None if they are of another process."""
    kind, _, rest = name.partition("-")
    number = rest.partition("-")[0]
    return int(number) if kind == "gateway" and number.isascii() and number.isdigit() else None


def keep_counters(part: CountersPart, folder: Path) -> None:
    """Leave counters of another host in the run folder; :class:`BadInputError` if it is no name of counters."""
    if _NAME.fullmatch(part.name) is None:
        raise BadInputError(f"{part.name!r} is no name of counters: the peer is not a penstock server.")
    imported(counters_path(folder, part.name), part.content)
