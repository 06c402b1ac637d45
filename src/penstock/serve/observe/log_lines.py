"""The log lines of every process of a server, on standard error: with time and level, as text or as JSON."""

from __future__ import annotations

import logging
import sys
import time
from typing import final

import msgspec

from penstock.serve.listen.options import LogFormat

READY = "ready: "
"""What the line begins with, after time, level and logger, that gives the URL of a server that is ready."""


@final
class JsonLines(logging.Formatter):
    """A JSON object a line: ``time_unix_ms``, ``level``, ``logger``, ``message``, and the fields of the record."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        document = {
            "time_unix_ms": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            document["trace"] = self.formatException(record.exc_info)
        return msgspec.json.encode(document).decode()


def text_lines() -> logging.Formatter:
    """Of lines such as ``2025-01-31T09:30:00.250Z INFO penstock.serve: message``; the time is UTC."""
    made = logging.Formatter(
        "%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s: %(message)s", datefmt="%Y-%m-%dT%H:%M:%S"
    )
    made.converter = time.gmtime
    return made


def log_to_standard_error(log_format: LogFormat) -> None:
    """Send the log of this package there, from the level of information on, in ``log_format``."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if log_format == "json" else text_lines())
    package = logging.getLogger("penstock")
    package.handlers = [handler]
    package.setLevel(logging.INFO)
    package.propagate = False
