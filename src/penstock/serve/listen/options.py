"""What an operator may choose about the listeners: limits, secrets, logs. Plain values, for the spec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

LogFormat = Literal["text", "json"]


class ListenLimits(msgspec.Struct, frozen=True):
    """Bounds of each connection, and of all together.

    ``head_bytes``: request line and headers. ``held_bytes``: bodies of all connections that are being received or
    answered. ``idle_s``: between requests. ``head_s``, ``body_s``: from the first byte of each to its last.
    ``answer_s``: for a client to read its answer. ``connections``: at once, of each gateway.
    """

    connections: int = 4_096
    head_bytes: int = 32_768
    held_bytes: int = 2**30
    idle_s: float = 75.0
    head_s: float = 10.0
    body_s: float = 30.0
    answer_s: float = 30.0


class ListenOptions(msgspec.Struct, frozen=True):
    """``token_file``: a token a line; absent: no token is asked.

    ``tls_certificate`` and ``tls_key`` are files in PEM form; both or none. ``system_shared_memory``: whether clients
    may name files of ``/dev/shm``.
    """

    limits: ListenLimits = ListenLimits()
    token_file: str | None = None
    tls_certificate: str | None = None
    tls_key: str | None = None
    access_log: bool = False
    log_format: LogFormat = "text"
    system_shared_memory: bool = False

    @property
    def files(self) -> dict[str, str]:
        """The paths of the files, by field; those that are not given are left out."""
        found = {field: getattr(self, field) for field in ("token_file", "tls_certificate", "tls_key")}
        return {field: path for field, path in found.items() if path is not None}

    def with_files(self, paths: Mapping[str, str]) -> ListenOptions:
        """The same options with these files in the place of its own, by field; there are no others."""
        return msgspec.structs.replace(self, **{**dict.fromkeys(self.files), **paths})
