"""The options of verbs that listen for clients: addresses, secrets, limits and logs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

import click

from penstock.cli.common.numbers import FiniteRange
from penstock.cli.common.option_group import option_group
from penstock.errors import BadInputError

if TYPE_CHECKING:
    import socket

    from penstock.serve.listen.options import ListenOptions
    from penstock.serve.listeners import Address

_FILE = click.Path(dir_okay=False, path_type=Path)

_OPTIONS = (
    click.option(
        "--http", default="127.0.0.1:8000", show_default=True, help="Address; port 0 takes a free one."
    ),
    click.option(
        "--grpc",
        metavar="ADDRESS",
        help="Serve gRPC too, there. As for HTTP, :PORT is loopback; 0.0.0.0:PORT is every interface.",
    ),
    click.option(
        "--token-file", type=_FILE, help="Ask each request for a bearer token of this file (one a line)."
    ),
    click.option(
        "--tls-cert", type=_FILE, help="Certificate chain (PEM): clients connect by TLS, on both protocols."
    ),
    click.option("--tls-key", type=_FILE, help="Its key (PEM)."),
    click.option(
        "--max-body-mb", type=click.IntRange(min=1), default=64, show_default=True, help="Of one request."
    ),
    click.option(
        "--max-samples", type=click.IntRange(min=1), default=4_096, show_default=True, help="In one request."
    ),
    click.option(
        "--max-connections",
        type=click.IntRange(min=1),
        default=4_096,
        show_default=True,
        help="Of one gateway.",
    ),
    click.option(
        "--body-seconds",
        type=FiniteRange(min=0, min_open=True),
        default=30.0,
        show_default=True,
        help="The longest that a client may take to send a body, or to read its answer.",
    ),
    click.option(
        "--idle-seconds",
        type=FiniteRange(min=0, min_open=True),
        default=75.0,
        show_default=True,
        help="How long a connection stays open between two requests.",
    ),
    click.option("--access-log", is_flag=True, help="Log a line for each request."),
    click.option(
        "--log-format",
        type=click.Choice(("text", "json")),
        default="text",
        show_default=True,
        help="Of the server's log, on standard error.",
    ),
)


@final
@dataclass(frozen=True)
class Listening:
    """What the options say."""

    http: str
    grpc: str | None
    token_file: Path | None
    tls_cert: Path | None
    tls_key: Path | None
    max_body_mb: int
    max_samples: int
    max_connections: int
    body_seconds: float
    idle_seconds: float
    access_log: bool
    log_format: Any

    @property
    def body_bytes(self) -> int:
        """The largest body."""
        return self.max_body_mb * 2**20

    def options(self) -> ListenOptions:
        """For the listeners; :class:`BadInputError` if a file of them cannot be used."""
        from penstock.serve.listen.options import ListenLimits, ListenOptions
        from penstock.serve.listen.security import Tokens, server_tls

        if self.token_file is not None:
            Tokens.read(self.token_file)
        if (self.tls_cert is None) != (self.tls_key is None):
            raise BadInputError("--tls-cert and --tls-key go together: give both, or none.")
        if self.tls_cert is not None and self.tls_key is not None:
            server_tls(self.tls_cert, self.tls_key)
        return ListenOptions(
            limits=ListenLimits(
                connections=self.max_connections,
                idle_s=self.idle_seconds,
                body_s=self.body_seconds,
                answer_s=self.body_seconds,
            ),
            token_file=_absolute(self.token_file),
            tls_certificate=_absolute(self.tls_cert),
            tls_key=_absolute(self.tls_key),
            access_log=self.access_log,
            log_format=self.log_format,
        )

    def addresses(self) -> tuple[Address, Address | None]:
        """Those of HTTP and gRPC; the log warns of an address that others can reach without a token."""
        from penstock.serve import require_grpc
        from penstock.serve.listen.security import is_loopback
        from penstock.serve.listeners import Address

        http = Address.parse(self.http)
        grpc = None if self.grpc is None else Address.parse(self.grpc)
        if grpc is not None:
            require_grpc("--grpc")
        for address in filter(None, (http, grpc)):
            if self.token_file is None and not is_loopback(address.host):
                logging.getLogger("penstock.serve").warning(
                    "whoever reaches %s may use this server. --token-file asks for a token.", address.text
                )
        return http, grpc

    @contextmanager
    def reserved(self) -> Iterator[tuple[socket.socket, socket.socket | None]]:
        """Sockets bound to the addresses of HTTP and gRPC, kept until the end of the block."""
        from penstock.serve.listeners import reserved

        http, grpc = self.addresses()
        with reserved(http) as first:
            if grpc is None:
                yield first, None
                return
            with reserved(grpc, option="--grpc") as second:
                yield first, second


listening_options = option_group("listening", Listening, _OPTIONS)
"""Adds the options to a command, which gets them as ``listening``."""


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())
