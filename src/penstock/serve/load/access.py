"""How a client gets into a server: its bearer token, and the certificate that it trusts."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, final

from penstock.errors import BadInputError
from penstock.serve.listen.security import tokens_in


@final
@dataclass(frozen=True)
class Access:
    """``token`` goes with each request. ``certificate``: a file (PEM) to trust, in place of the system's; TLS only."""

    token: str | None = None
    certificate: Path | None = None

    @classmethod
    def read(cls, token_file: Path | None, certificate: Path | None) -> Self:
        """With the first token of ``token_file``; :class:`BadInputError` if there is none, or a file cannot be read."""
        token = None if token_file is None else next(iter(tokens_in(token_file)), None)
        if token_file is not None and token is None:
            raise BadInputError(f"{token_file}: holds no token. Write one token a line.")
        return cls(token, certificate)

    @property
    def headers(self) -> dict[str, str]:
        """For HTTP."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """For gRPC, whose keys are in lower case."""
        return tuple((key.lower(), value) for key, value in self.headers.items())

    def tls(self) -> ssl.SSLContext:
        """For ``https``; :class:`BadInputError` if the certificate cannot be used."""
        try:
            return ssl.create_default_context(cafile=self.certificate)
        except OSError as error:
            raise self._unusable(error) from None

    def roots(self) -> bytes | None:
        """For ``grpcs``: the certificate's text, None for those of the system."""
        if self.certificate is None:
            return None
        self.tls()  # gRPC takes any bytes, and says only later that the server cannot be reached
        return self.certificate.read_bytes()

    def channel(self, grpc: Any, kind: Any, url: str, options: Any) -> Any:
        """A channel of ``kind`` (``grpc`` or ``grpc.aio``) to ``url``, ``grpc://HOST:PORT`` or ``grpcs://``.

        ``grpc`` is the module, which is not imported here.
        """
        scheme, _, address = url.rstrip("/").partition("://")
        if scheme == "grpcs":
            return kind.secure_channel(address, grpc.ssl_channel_credentials(self.roots()), options)
        return kind.insecure_channel(address, options)

    def _unusable(self, error: OSError) -> BadInputError:
        return BadInputError(
            f"{self.certificate}: cannot be used as a certificate ({error}). It must be a PEM file: the server's own "
            "certificate if it signed that itself, else its authority's."
        )


NO_SECRETS = Access()
