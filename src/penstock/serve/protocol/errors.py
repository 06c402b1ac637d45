"""What the server answers when it cannot answer with a result."""

from __future__ import annotations

from penstock.errors import PenstockError


class ProtocolError(PenstockError):
    """A request that gets an explicit error: ``http_status``, and the message as ``{"error": ...}``.

    ``retry_after_s`` is sent as ``Retry-After`` where it makes sense to come back.
    """

    def __init__(self, http_status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.http_status = http_status
        self.retry_after_s = retry_after_s


def malformed(message: str) -> ProtocolError:
    """The request breaks a rule of the protocol, or does not fit the model: 400."""
    return ProtocolError(400, message)
