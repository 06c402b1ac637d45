"""The errors that the server answers with."""

from __future__ import annotations

from penstock.errors import PenstockError

MEANING = {
    400: "the request is malformed, or does not fit the model",
    401: "the server asks for a token",
    404: "no such model, version or path",
    405: "a wrong verb; `Allow` names the right ones",
    408: "head or body came too slowly",
    413: "the body, what it inflates to, the number of samples or the parameters are over a limit",
    415: "an unknown `Content-Encoding`",
    431: "the headers are over the limit",
    500: "the model failed, or no answer came from the workers",
    503: "not ready, stopping, or too much waits; `Retry-After` says when to try again",
    504: "the deadline can no longer be met",
}
"""Every status of an answer with an error. The documentation is written from it."""


class ProtocolError(PenstockError):
    """The request is answered with ``http_status`` and the message as ``{"error": ...}``.

    ``retry_after_s`` is sent as ``Retry-After`` if the client may try again; ``allow`` names the verbs of a path
    (405).
    """

    def __init__(
        self, http_status: int, message: str, *, retry_after_s: int | None = None, allow: str = ""
    ) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.retry_after_s = retry_after_s
        self.allow = allow


def malformed(message: str) -> ProtocolError:
    """The request breaks a rule of the protocol, or does not fit the model: 400."""
    return ProtocolError(400, message)
