"""Paths of the protocol: what is asked, of which model, and with which verb."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple
from urllib.parse import unquote

from penstock.serve.protocol.errors import ProtocolError

VERSION = "1"
"""A plan has one version of each model."""


class Ask(Enum):
    """What a path asks for."""

    SERVER = "server metadata"
    LIVE = "server live"
    READY = "server ready"
    METRICS = "metrics"
    INDEX = "repository index"
    MODEL = "model metadata"
    MODEL_READY = "model ready"
    MODEL_CONFIG = "model configuration"
    MODEL_STATS = "model statistics"
    STATS = "statistics of all models"
    INFER = "inference"

    @property
    def verb(self) -> str:
        """``GET`` or ``POST``."""
        return "POST" if self in (Ask.INFER, Ask.INDEX) else "GET"


class Route(NamedTuple):
    """A path understood; ``model`` is empty where none is named."""

    ask: Ask
    model: str = ""


_SERVER_PATHS = {
    ("v2",): Ask.SERVER,
    ("v2", "health", "live"): Ask.LIVE,
    ("v2", "health", "ready"): Ask.READY,
    ("v2", "repository", "index"): Ask.INDEX,
    ("v2", "models", "stats"): Ask.STATS,
    ("metrics",): Ask.METRICS,
}
_MODEL_PATHS = {
    (): Ask.MODEL,
    ("ready",): Ask.MODEL_READY,
    ("config",): Ask.MODEL_CONFIG,
    ("stats",): Ask.MODEL_STATS,
    ("infer",): Ask.INFER,
}


def match(verb: str, raw_path: str) -> Route:
    """The route of a request; :class:`ProtocolError` 404 for an unknown path, 405 for a wrong verb."""
    path = raw_path.partition("?")[0]
    route = _match_path(tuple(unquote(part) for part in path.strip("/").split("/")), path)
    if verb != route.ask.verb:
        raise ProtocolError(405, f"{path} takes {route.ask.verb}, not {verb}.")
    return route


def _match_path(parts: tuple[str, ...], path: str) -> Route:
    if parts in _SERVER_PATHS:
        return Route(_SERVER_PATHS[parts])
    if parts[:2] == ("v2", "models") and len(parts) > 2:
        model, *rest = parts[2:]
        if rest[:1] == ["versions"] and len(rest) > 1:
            if rest[1] != VERSION:
                raise ProtocolError(404, f"model {model!r} has version {VERSION} only, not {rest[1]!r}.")
            rest = rest[2:]
        if tuple(rest) in _MODEL_PATHS:
            return Route(_MODEL_PATHS[tuple(rest)], model)
    raise ProtocolError(404, f"no such path: {path[:200]}")
