"""The paths of the protocol: what each asks for, of which model, and with which verbs."""

from __future__ import annotations

from enum import Enum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote

from penstock.serve.protocol.errors import ProtocolError

LONGEST_KEPT = 512


class Ask(Enum):
    """What a path asks for."""

    SERVER = "server metadata"
    LIVE = "server live"
    READY = "server ready"
    METRICS = "metrics"
    OPENAPI = "description of the interface"
    DASHBOARD = "live page"
    INDEX = "repository index"
    MODEL = "model metadata"
    MODEL_READY = "model ready"
    MODEL_CONFIG = "model configuration"
    MODEL_STATS = "model statistics"
    STATS = "statistics of all models"
    INFER = "inference"
    TRACE = "trace settings"
    LOAD = "loading a model"
    UNLOAD = "unloading a model"
    REGIONS = "regions of shared memory"
    REGISTER = "registering a region of shared memory"
    UNREGISTER = "forgetting regions of shared memory"
    CUDA_REGIONS = "regions of CUDA shared memory"
    CUDA_REGISTER = "registering a region of CUDA shared memory"
    CUDA_UNREGISTER = "forgetting regions of CUDA shared memory"

    @property
    def verbs(self) -> tuple[str, ...]:
        """The methods that it takes. ``HEAD`` goes with ``GET``."""
        if self in _POSTED:
            return ("POST",)
        return ("GET", "HEAD", "POST") if self is Ask.TRACE else ("GET", "HEAD")

    @property
    def is_open(self) -> bool:
        """Whether it tells nothing of the models or the load, so that it needs no token: probes, and an empty page."""
        return self in (Ask.LIVE, Ask.READY, Ask.DASHBOARD)


_POSTED = frozenset(
    (
        *(Ask.INFER, Ask.INDEX, Ask.LOAD, Ask.UNLOAD),
        *(Ask.REGISTER, Ask.UNREGISTER, Ask.CUDA_REGISTER, Ask.CUDA_UNREGISTER),
    )
)


class Route(NamedTuple):
    """What a path asks for; ``model`` is empty if the path names none, ``version`` if it names no version.

    ``region``: of shared memory.
    """

    ask: Ask
    model: str = ""
    version: str = ""
    region: str = ""


_SERVER_PATHS = {
    ("v2",): Ask.SERVER,
    ("v2", "health", "live"): Ask.LIVE,
    ("v2", "health", "ready"): Ask.READY,
    ("v2", "repository", "index"): Ask.INDEX,
    ("v2", "models", "stats"): Ask.STATS,
    ("v2", "trace", "setting"): Ask.TRACE,
    ("v2", "systemsharedmemory", "status"): Ask.REGIONS,
    ("v2", "systemsharedmemory", "unregister"): Ask.UNREGISTER,
    ("v2", "cudasharedmemory", "status"): Ask.CUDA_REGIONS,
    ("v2", "cudasharedmemory", "unregister"): Ask.CUDA_UNREGISTER,
    ("metrics",): Ask.METRICS,
    ("openapi.json",): Ask.OPENAPI,
}
_MODEL_PATHS = {
    (): Ask.MODEL,
    ("ready",): Ask.MODEL_READY,
    ("config",): Ask.MODEL_CONFIG,
    ("stats",): Ask.MODEL_STATS,
    ("infer",): Ask.INFER,
    ("trace", "setting"): Ask.TRACE,
}


_REPOSITORY_PATHS = {"load": Ask.LOAD, "unload": Ask.UNLOAD}
_REGION_PATHS = {
    "systemsharedmemory": {"status": Ask.REGIONS, "register": Ask.REGISTER, "unregister": Ask.UNREGISTER},
    "cudasharedmemory": {
        "status": Ask.CUDA_REGIONS,
        "register": Ask.CUDA_REGISTER,
        "unregister": Ask.CUDA_UNREGISTER,
    },
}


def match(verb: str, target: str) -> Route:
    """The route of a request; :class:`ProtocolError` 404 for an unknown path, 405 for a wrong verb."""
    # Targets of any length would make the cache large.
    route = (_match_target if len(target) <= LONGEST_KEPT else _match_target.__wrapped__)(target)
    if isinstance(route, str):
        raise ProtocolError(404, route)
    if verb not in route.ask.verbs:
        path = target.partition("?")[0][:200]
        allow = ", ".join(route.ask.verbs)
        raise ProtocolError(405, f"{path} takes {allow}, not {verb}.", allow=allow)
    return route


@lru_cache(maxsize=1024)
def _match_target(target: str) -> Route | str:
    """The route, or what to say of a path that is none. (An exception must not be kept: it grows a traceback.)"""
    if target[:1] != "/" and "://" in target:  # the form that proxies use
        target = "/" + target.partition("://")[2].partition("/")[2]
    path = target.partition("?")[0]
    try:
        return _match_path(tuple(unquote(part) for part in path.strip("/").split("/")), path)
    except ProtocolError as error:
        return str(error)


def _match_path(parts: tuple[str, ...], path: str) -> Route:
    if parts in _SERVER_PATHS:
        return Route(_SERVER_PATHS[parts])
    if parts[0] == "dashboard" and len(parts) <= 2:
        return Route(Ask.DASHBOARD)
    if parts[:2] == ("v2", "models") and len(parts) > 2:
        model, *rest = parts[2:]
        version = ""
        if rest[:1] == ["versions"] and len(rest) > 1:
            version, rest = rest[1], rest[2:]
        if tuple(rest) in _MODEL_PATHS:
            return Route(_MODEL_PATHS[tuple(rest)], model, version)
    if parts[:3] == ("v2", "repository", "models") and len(parts) == 5 and parts[4] in _REPOSITORY_PATHS:
        return Route(_REPOSITORY_PATHS[parts[4]], parts[3])
    if len(parts) == 5 and parts[0] == "v2" and parts[2] == "region":
        ask = _REGION_PATHS.get(parts[1], {}).get(parts[4])
        if ask is not None:
            return Route(ask, region=parts[3])
    raise ProtocolError(404, f"no such path: {path[:200]}")
