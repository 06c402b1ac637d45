"""Who may ask (bearer tokens), and what others on the network can read (TLS)."""

from __future__ import annotations

import hmac
import ipaddress
import ssl
from pathlib import Path
from typing import final

from penstock.errors import BadInputError
from penstock.serve.protocol.errors import ProtocolError

SHORTEST_TOKEN = 16
"""Shorter ones can be guessed by trying."""


@final
class Tokens:
    """The tokens of a file: one a line; empty lines and those that start with ``#`` are left out."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        self._tokens = tuple(token.encode() for token in tokens)

    @classmethod
    def read(cls, path: Path) -> Tokens:
        """The tokens in ``path``; :class:`BadInputError` if it holds none, or one that is too short."""
        tokens = tokens_in(path)
        if not tokens or any(len(token) < SHORTEST_TOKEN or not token.isascii() for token in tokens):
            raise BadInputError(
                f"{path}: needs at least one token, one a line, each of {SHORTEST_TOKEN} ASCII characters or more. "
                "Make one with: openssl rand -hex 32"
            )
        return cls(tokens)

    def check(self, authorization: str) -> None:
        """:class:`ProtocolError` 401 unless ``authorization`` is ``Bearer`` and one of the tokens."""
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode()
        # Every token is compared, in a time that does not depend on how much of it is right.
        matches = [hmac.compare_digest(given, one) for one in self._tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise ProtocolError(401, "this server asks for a token: send 'Authorization: Bearer TOKEN'.")


def tokens_in(path: Path) -> tuple[str, ...]:
    """The tokens in ``path``, of any length; :class:`BadInputError` if it cannot be read."""
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadInputError(f"{path}: the tokens cannot be read ({reason}).") from None
    return tuple(line for line in lines if line and not line.startswith("#"))


def server_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """The TLS of a server with this certificate chain and key (PEM); :class:`BadInputError` if they do not fit."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInputError(
            f"the certificate {certificate} and the key {key} cannot be used ({error}). Both must be PEM files, "
            "and the key that of the certificate."
        ) from None
    return context


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach ``host``."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
