"""Timed runs that are kept while a profile is being measured, so that a second run goes on where the first one ended.

A folder beside the profile's: ``question.json`` says what is measured (model, blocks, settings), and each batch of each
share has a file. Files of another question are refused, never mixed in.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, final

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError

_QUESTION = "question.json"


@dataclass(frozen=True)
class Column:
    """All pieces at one batch on one share.

    ``runs_ns``: durations of each piece's runs. ``memory_bytes``: int64, shape (pieces, 3): weights, activations,
    workspace. ``copies_us``: into the device and back, of the whole model. ``executor``: what computed, in words.
    """

    runs_ns: tuple[NDArray[np.int64], ...]
    memory_bytes: NDArray[np.int64]
    copies_us: NDArray[np.float64]
    executor: str = ""


class Keeper(Protocol):
    """Where measured columns are kept."""

    def find(self, share: int, batch: int) -> Column | None:
        """The column, if it was measured before."""
        ...

    def keep(self, share: int, batch: int, column: Column) -> None:
        """Keep a column for a later run."""
        ...


@final
class NoKeeper:
    """Keeps nothing."""

    def find(self, share: int, batch: int) -> Column | None:
        """Nothing was measured before."""
        return None

    def keep(self, share: int, batch: int, column: Column) -> None:
        """Forget it."""


def partial_folder(profile_folder: Path) -> Path:
    """The folder beside ``profile_folder`` for what is measured of it so far."""
    return profile_folder.with_name(profile_folder.name + ".partial")


@final
class PartialResults:
    """Columns in ``folder``, which is made with the first of them.

    Raises :class:`BadInputError` if the folder holds the answers to another question, unless ``force``: then they are
    removed.
    """

    def __init__(self, folder: Path, question: Mapping[str, Any], *, force: bool = False) -> None:
        self._folder = folder
        self._question = asked = json.loads(json.dumps(question))
        found = _question(folder)
        if found is not None and found != asked:
            if not force:
                raise BadInputError(
                    f"{folder}: holds the beginning of another measurement ({_difference(found, asked)}). Ask the same "
                    f"again to go on with it, give --force to drop it, or choose another -o."
                )
            shutil.rmtree(folder)

    def find(self, share: int, batch: int) -> Column | None:
        """See :class:`Keeper`."""
        path = self._path(share, batch)
        if not path.exists():
            return None
        with np.load(path) as arrays:
            count = sum(name.startswith("runs_") for name in arrays.files)
            runs = tuple(arrays[f"runs_{index}"] for index in range(count))
            return Column(runs, arrays["memory_bytes"], arrays["copies_us"], str(arrays["executor"]))

    def keep(self, share: int, batch: int, column: Column) -> None:
        """See :class:`Keeper`."""
        if not self._folder.exists():
            self._folder.mkdir(parents=True)
            _write_whole(self._folder / _QUESTION, json.dumps(self._question, indent=1).encode())
        # Any: to mypy, one of these could be the argument allow_pickle.
        arrays: dict[str, Any] = {f"runs_{index}": one for index, one in enumerate(column.runs_ns)}
        arrays["executor"] = np.array(column.executor)
        path = self._path(share, batch)
        beside = path.with_suffix(".new.npz")
        # Without allow_pickle: numpy before 2.2 would keep it as one more array.
        np.savez(beside, memory_bytes=column.memory_bytes, copies_us=column.copies_us, **arrays)
        beside.replace(path)  # an interrupted run leaves no half file under the name

    @property
    def count(self) -> int:
        """Columns kept so far."""
        return sum(1 for path in self._folder.glob("share*-batch*.npz") if not path.stem.endswith(".new"))

    def remove(self) -> None:
        """The measurement is whole: nothing is left to go on with."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _path(self, share: int, batch: int) -> Path:
        return self._folder / f"share{share}-batch{batch}.npz"


def holds(folder: Path, question: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds the beginning of the answer to ``question``."""
    return bool(_question(folder) == json.loads(json.dumps(question)))


def _question(folder: Path) -> dict[str, Any] | None:
    path = folder / _QUESTION
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise BadInputError(f"{path}: not JSON. Remove the folder; it holds partial results only.") from None
    return found


def _difference(found: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    keys = [key for key in sorted({*found, *asked}) if found.get(key) != asked.get(key)]
    return ", ".join(f"{key} {str(found.get(key))[:40]}, not {str(asked.get(key))[:40]}" for key in keys[:3])


def _write_whole(path: Path, data: bytes) -> None:
    beside = path.with_suffix(".new")
    beside.write_bytes(data)
    beside.replace(path)
