"""The cache of one kernel: numba's files, under a stamp of all that the kernel is made of.

Numba writes an index and then the data it names, so two processes that save at once could leave a name that leads
to other code. A lock on the folder prevents that where the system has one.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from numba.core import caching

from penstock.kernels.folders import LOGGER, folders
from penstock.kernels.stamp import stamp_of

if sys.platform != "win32":
    import fcntl


class KernelCache(caching.NullCache):
    """Reads the folders of :func:`~penstock.kernels.folders.folders` in turn, and writes to the one it may write."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    @cached_property
    def _readable(self) -> list[_FolderCache]:
        return [_FolderCache(self._function, folder) for folder in folders()[0]]

    @property
    def cache_path(self) -> str | None:
        """Where the kernel's code is written; None if nowhere."""
        return None if folders()[1] is None else str(folders()[1])

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """The code for a signature, or None if it has to be compiled."""
        for cache in self._readable:
            with _locked(cache.folder, exclusive=False):
                found = cache.load_overload(sig, target_context)
            if found is not None:
                return found
        return None

    def save_overload(self, sig: Any, compile_result: Any) -> None:
        """Keep the code for a signature. A folder that is full or has been removed costs only that it is not kept."""
        folder = folders()[1]
        if folder is None:
            return
        try:
            with _locked(folder, exclusive=True):
                self._readable[0].save_overload(sig, compile_result)
        except OSError as error:
            LOGGER.warning("penstock: a compiled kernel could not be kept in %s: %s", folder, error.strerror)


class _FolderCache(caching.FunctionCache):
    """Numba's cache of one function, in a folder and under a stamp of our choice."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        # Not numba's own __init__, which chooses both.
        self.folder = folder
        self._name, self._py_func = repr(function), function
        self._impl = _Implementation(function, folder)
        self._cache_path = str(folder)
        self._cache_file = caching.IndexDataCacheFile(
            self._cache_path, self._impl.filename_base, stamp_of(function.__module__)
        )
        self.enable()


class _Implementation(caching.CompileResultCacheImpl):
    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._lineno = function.__code__.co_firstlineno
        self._locator = _Locator(function, folder)
        name = f"{function.__module__.removeprefix('penstock.')}.{function.__qualname__}"
        self._filename_base = self.get_filename_base(name, getattr(sys, "abiflags", ""))


class _Locator:
    """What numba asks of a locator when it saves."""

    def __init__(self, function: Callable[..., Any], folder: Path) -> None:
        self._py_file, self._folder = function.__code__.co_filename, folder
        self._line = function.__code__.co_firstlineno

    def ensure_cache_path(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def get_disambiguator(self) -> str:
        return str(self._line)


@contextlib.contextmanager
def _locked(folder: Path, *, exclusive: bool) -> Iterator[None]:
    """Hold the folder's lock; a folder that cannot be written needs none, as nobody writes there."""
    if sys.platform == "win32":
        yield
        return
    try:
        file = (folder / "lock").open("ab")
    except OSError:
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield
