"""The live server: it serves a plan by the Open Inference Protocol, with the policy that the simulator uses."""

from __future__ import annotations

from importlib.util import find_spec

from penstock.errors import MissingExtraError

PACKAGES = ("aiohttp", "httptools", "msgspec", "prometheus_client", "uvloop", "zmq")


def require_extra(purpose: str) -> None:
    """Raise :class:`MissingExtraError` unless the packages of the extra ``serve`` are installed."""
    if any(find_spec(name) is None for name in PACKAGES):
        raise MissingExtraError(purpose, "serve")


def require_grpc(purpose: str) -> None:
    """Raise :class:`MissingExtraError` unless the packages of the extra ``grpc`` are installed."""
    if find_spec("grpc") is None or find_spec("google.protobuf") is None:
        raise MissingExtraError(purpose, "grpc")
