"""The live server: a plan behind the Open Inference Protocol, driven by the simulator's own policy."""

from __future__ import annotations

from importlib.util import find_spec

from penstock.errors import MissingExtraError


def require_extra(purpose: str) -> None:
    """Raise :class:`MissingExtraError` unless the packages of the extra ``serve`` are installed."""
    if any(find_spec(name) is None for name in ("aiohttp", "msgspec", "uvloop", "zmq")):
        raise MissingExtraError(purpose, "serve")
