"""Where compiled kernels are kept: the first of these folders that can be written, and those that can be read.

1. In ``NUMBA_CACHE_DIR``, if that is set.
2. Beside the package. An image that was built with ``penstock warm-up`` has them there, and they are read from
   there even if the image is read-only.
3. In the user's cache folder.
4. In a private folder of the system's folder for temporary files.

Cached code is executed, so a folder that somebody else could write to is not used.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from functools import cache
from pathlib import Path

import penstock

LOGGER = logging.getLogger("penstock.kernels")


@cache
def folders() -> tuple[tuple[Path, ...], Path | None]:
    """The folders to read, best first, and the one to write; None if kernels cannot be kept."""
    package = Path(penstock.__file__).resolve().parent
    beside = package / "__pycache__" / "kernels"
    # One folder for each place of installation: two checkouts do not overwrite each other's.
    name = f"penstock-kernels-{hashlib.sha256(str(package).encode()).hexdigest()[:12]}"
    candidates = [beside, _user_cache() / name, Path(tempfile.gettempdir()) / f"{name}-{_user_id()}"]
    asked = os.environ.get("NUMBA_CACHE_DIR")
    if asked:
        candidates.insert(0, Path(asked) / name)
    writable = next((folder for folder in candidates if _can_write(folder)), None)
    if writable is None:
        LOGGER.warning(
            "penstock: no folder for compiled kernels can be written, so what is not there yet is compiled in every "
            "process. Set NUMBA_CACHE_DIR to a writable folder."
        )
    elif writable != candidates[0]:
        LOGGER.info("%s cannot be written: compiled kernels are kept in %s", candidates[0], writable)
    readable = [folder for folder in (writable, beside) if folder is not None and folder.is_dir()]
    return tuple(dict.fromkeys(readable)), writable


def _user_cache() -> Path:
    """The user's cache folder; a relative path, which no candidate may be, if there is no home."""
    base = os.environ.get("XDG_CACHE_HOME") or os.environ.get("LOCALAPPDATA")
    if base:
        return Path(base)
    try:
        return Path.home() / ".cache"
    except RuntimeError:
        return Path("no-home")


def _user_id() -> int:
    return os.getuid() if hasattr(os, "getuid") else 0


def _can_write(folder: Path) -> bool:
    """Whether ``folder``, made if need be, takes files of ours and only of ours."""
    if not folder.is_absolute():
        return False
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        status = folder.lstat()
    except OSError:
        return False
    if not hasattr(os, "getuid"):
        return True
    is_shared = bool(status.st_mode & 0o022) or folder.is_symlink()
    return status.st_uid == os.getuid() and not is_shared
