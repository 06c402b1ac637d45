"""One line for each request, if the operator asks for it."""

from __future__ import annotations

import logging
from typing import final

_MOST_CHARACTERS = 300


@final
class RequestLog:
    """The access log."""

    def __init__(self) -> None:
        self._log = logging.getLogger("penstock.access")
        self._log.setLevel(logging.INFO)

    def write(
        self, protocol: str, what: str, status: int, response_bytes: int, took_us: int, peer: str
    ) -> None:
        """A request was answered."""
        fields = {
            "protocol": protocol,
            "request": what[:_MOST_CHARACTERS],
            "status": status,
            "response_bytes": response_bytes,
            "took_us": took_us,
            "peer": peer,
        }
        self._log.info(
            "%s %s %s %d %d B %d us",
            peer,
            protocol,
            ascii(what[:_MOST_CHARACTERS]),
            status,
            response_bytes,
            took_us,
            extra={"fields": fields},
        )
