"""What is installed that can use the devices, and where compiled code is kept. Nothing heavy is imported."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("numba", "onnx", "onnxruntime", "onnxruntime-gpu", "torch", "tensorrt", "ray", "nvidia-ml-py")


@dataclass(frozen=True)
class Cache:
    """A folder of compiled code: how much is in it now."""

    what: str
    path: str
    files: int
    size_bytes: int


def installed(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """The version of each package; None where it is not installed."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def ray_address() -> str | None:
    """The Ray cluster that ``ray.init(address="auto")`` would join from here; None where there is none."""
    if address := os.environ.get("RAY_ADDRESS"):
        return address
    marker = Path(os.environ.get("RAY_TMPDIR", "/tmp")) / "ray/ray_current_cluster"
    try:
        return marker.read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def caches() -> list[Cache]:
    """Compiled kernels of Penstock (numba's cache)."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    package = find_spec("penstock")
    own = [] if package is None else package.submodule_search_locations or []
    places = [Path(place) for place in ([chosen] if chosen else own)]
    return [_cache("compiled kernels", place, ("*.nbi", "*.nbc")) for place in places]


def _cache(what: str, place: Path, patterns: tuple[str, ...]) -> Cache:
    files = [path for pattern in patterns for path in place.rglob(pattern)] if place.is_dir() else []
    return Cache(what, str(place), len(files), sum(path.stat().st_size for path in files))
