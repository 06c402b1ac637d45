"""Kernels: functions that numba compiles. :func:`compiled` is their one door.

- The code of a kernel is cached in files, and a cached kernel is used only if nothing that it is made of
  has changed: see :mod:`penstock.kernels.stamp`.
- Cached code lies beside the package if that folder is writable, else in a folder of the user: see
  :mod:`penstock.kernels.folders`. Without any writable folder kernels are compiled anew in every process.
- The first compilation in a process is announced to the logger ``penstock.kernels``, which by default writes to
  standard error, and the time it takes does not count as solving: see :func:`penstock.clock.solving_seconds`.

With ``NUMBA_DISABLE_JIT=1`` kernels are the plain Python functions that they look like, for debuggers and coverage.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numba
from numba import njit

from penstock.kernels.announce import announce_compilation
from penstock.kernels.cache import KernelCache

__all__ = ["KERNELS", "compiled", "entry_point"]

KERNELS: list[Any] = []
"""Every kernel of the modules that are imported."""


def compiled(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """A kernel that Python calls, cached in files; ``options`` are those of :func:`numba.njit` but ``cache``.

    Used with or without options, as numba's own decorators are. Of no type that mypy knows, as theirs.
    """
    if function is None:
        return lambda decorated: compiled(decorated, **options)
    if numba.config.DISABLE_JIT:
        return function
    announce_compilation()
    dispatcher = njit(**options)(function)
    # What njit's own cache=True does, but for the class. numba is bounded to tested minors for this.
    dispatcher._cache = KernelCache(function)
    KERNELS.append(dispatcher)
    return dispatcher


def entry_point(kernel: Any, *types: Any) -> Callable[..., Any]:
    """The code of ``kernel`` for arguments of the numba ``types``; compiles it, or takes it from the cache.

    To look at the types of the arguments and find the code for them is half of the time of a short call, and the entry
    point does not do it. So the caller must check them: an integer that is too large raises :class:`OverflowError`, but
    a float would be cut to an integer, and anything else may crash.
    """
    return cast("Callable[..., Any]", kernel if numba.config.DISABLE_JIT else kernel.compile(types))
