"""Rows of the record that gateways of other hosts write: their agents send them to the head as they grow.

A part says where in its file it belongs, and the head tells an agent that connects anew how much it has. So whatever
is cut and when, the head's file is the beginning of the other one, and the whole of it once all was sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import final

from penstock.errors import BadInputError
from penstock.serve.hosts.agent_messages import RowsPart
from penstock.serve.live_record import MOST_FILES

PART_BYTES = 2**18
_NAME = re.compile(r"requests-(\d+)-(\d{6})\.rows", re.ASCII)


@final
class RowsOut:
    """The files of rows in ``folder``, for the head."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sent: dict[str, int] = {}

    def resume(self, there: Mapping[str, int]) -> None:
        """The head has so many bytes of each file."""
        self._sent = dict(there)

    def parts(self) -> Iterator[RowsPart]:
        """What was added since the last time."""
        for path in sorted(self._folder.glob("*.rows")):
            sent = self._sent.get(path.name, 0)
            try:
                with path.open("rb") as file:
                    file.seek(sent)
                    while data := file.read(PART_BYTES):
                        yield RowsPart(path.name, sent, data)
                        sent += len(data)
            except FileNotFoundError:
                continue  # the gateway keeps the last files only
            self._sent[path.name] = sent


@final
class RowsIn:
    """Files of rows of other hosts, in the head's folder. As many are kept of each gateway as it keeps itself.

    ``host_of``: the host of each gateway.
    """

    def __init__(self, folder: Path, host_of: Mapping[int, str]) -> None:
        self._folder = folder
        self._host_of = host_of
        self._there: dict[str, dict[str, int]] = {}

    def there(self, host: str) -> dict[str, int]:
        """How many bytes have come of each file of ``host``."""
        return self._there.get(host, {})

    def add(self, host: str, part: RowsPart) -> None:
        """Keep ``part``; :class:`BadInputError` if it is not of a gateway there, or does not follow what came."""
        found = _NAME.fullmatch(part.name)
        if found is None or self._host_of.get(int(found[1])) != host:
            raise BadInputError(f"host {host} sent rows {part.name!r}, which no gateway of it writes.")
        there = self._there.setdefault(host, {})
        if part.offset != there.get(part.name, 0):
            raise BadInputError(
                f"host {host} sent byte {part.offset} of {part.name}, and {there.get(part.name, 0)} are here."
            )
        with (self._folder / part.name).open("ab") as file:
            file.write(part.data)
        there[part.name] = part.offset + len(part.data)
        oldest = int(found[2]) - MOST_FILES
        if oldest >= 0:
            name = f"requests-{found[1]}-{oldest:06d}.rows"
            (self._folder / name).unlink(missing_ok=True)
