"""What a kernel is made of, as a hash: its own file and those of everything of Penstock that the file names.

Numba's cache watches the file of a kernel alone. A kernel contains the code of kernels that it calls, constants that
its module imports, and the layout of tuples declared elsewhere; so a change of those left old code in use. Here the
files that a module's globals lead to belong to the stamp too, and imported constants by their value.

Computed at a kernel's first call, when all modules are complete.
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

_DOOR = "penstock.kernels"
"""The door itself is in no kernel."""


def stamp_of(module: str) -> str:
    """The hash of all that the kernels of ``module``, by its full name, may be made of."""
    digest = hashlib.sha256()
    for name in sorted(_reached_from(module)):
        digest.update(_content(name))
    return digest.hexdigest()


def _reached_from(module: str) -> set[str]:
    """``module`` and the modules of this package that define what it names, and so on."""
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting.extend(_named_by(name))
    return reached


@cache
def _named_by(module: str) -> frozenset[str]:
    """The modules of this package that define the globals of ``module``."""
    homes = {_home(value) for value in vars(sys.modules[module]).values()}
    return frozenset(home for home in homes if home in sys.modules and not home.startswith(f"{module}."))


def _home(value: Any) -> str:
    """Where ``value`` is defined; empty if that cannot matter to a kernel, or is unknown, as for numbers.

    A package has its modules as globals once somebody has imported them: :func:`_named_by` leaves those out, so that
    the stamp does not depend on what else a process imports.
    """
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    is_ours = isinstance(home, str) and home.startswith("penstock.")
    return str(home) if is_ours and not str(home).startswith(_DOOR) else ""


@cache
def _content(module: str) -> bytes:
    """A module's source and the constants among its globals, some of which come from elsewhere."""
    digest = hashlib.sha256(module.encode())
    source = getattr(sys.modules[module], "__file__", None)
    if source is not None:
        digest.update(Path(source).read_bytes())
    for name, value in sorted(vars(sys.modules[module]).items()):
        if name.isupper() and _is_plain(value):
            digest.update(f"{name}={value!r}".encode())
        elif isinstance(value, np.ndarray):
            digest.update(name.encode() + value.tobytes())
    return digest.digest()


def _is_plain(value: Any) -> bool:
    """Whether the text of ``value`` is the same in every process."""
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, int | float | str | np.generic)
