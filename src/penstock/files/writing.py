"""Outputs: written whole or not at all, and never overwritten unasked."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from penstock.errors import BadInputError


def refuse_overwrite(path: Path, force: bool, folder_of: Sequence[str] | None = None) -> None:
    """Raise :class:`BadInputError` if an output may not be written to ``path``.

    Nothing is replaced without ``force``, and with it only by its like: a file by a file, and, where the output
    is a folder whose entries match ``folder_of`` (shell patterns), a folder that holds nothing else.
    """
    if path.name in ("", "..", "-"):
        raise BadInputError(f"{path}: is not a name for an output. Name a file or folder to write.")
    if not path.exists():
        _check_writable(path)
    elif not force:
        raise BadInputError(f"{path}: exists already. Name another output, or pass --force to replace it.")
    elif folder_of is None:
        if path.is_dir():
            raise BadInputError(f"{path}: is a folder, which a file does not replace. Name a file.")
    elif not path.is_dir():
        raise BadInputError(f"{path}: is a file, which a folder does not replace. Name a folder.")
    else:
        _check_holds_only(path, folder_of)


def _check_writable(path: Path) -> None:
    """Before the work that would be lost: the nearest folder above that exists must take the output."""
    above = next(parent for parent in path.absolute().parents if parent.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        reason = "is not writable" if above.is_dir() else "is a file"
        raise BadInputError(f"{path}: cannot be written: {above} {reason}. Choose a writable place.")


def _check_holds_only(folder: Path, patterns: Sequence[str]) -> None:
    for entry in sorted(folder.iterdir()):
        if not any(fnmatch(entry.name, pattern) for pattern in patterns):
            raise BadInputError(
                f"{folder}: holds {entry.name!r}, which this output would not replace but remove. Name another "
                f"folder; --force replaces one that holds only {', '.join(patterns)}."
            )


def write_whole(
    path: Path,
    write: Callable[[Path], object],
    *,
    force: bool = False,
    folder_of: Sequence[str] | None = None,
) -> None:
    """Create the file or folder ``path`` by ``write(temporary path)``, then move it into place.

    ``folder_of`` says that it is a folder, and what it holds, as in :func:`refuse_overwrite`. The temporary
    is a sibling, so the move is atomic for files; on any error it is removed and what stood at ``path``
    before is untouched.
    """
    refuse_overwrite(path, force, folder_of)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except OSError as error:
        raise BadInputError(
            f"{path}: cannot be written ({error.strerror}). Choose a writable place."
        ) from None
    try:
        made = scratch / "new"
        write(made)
        _move_into_place(made, path, scratch / "old")
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move_into_place(made: Path, path: Path, aside: Path) -> None:
    """A file is replaced in one step; a folder cannot be, so the old one steps aside and back on failure."""
    if not path.is_dir():
        made.replace(path)
        return
    path.replace(aside)
    try:
        made.replace(path)
    except OSError:
        aside.replace(path)
        raise


def write_text(path: Path, text: str, *, force: bool = False) -> None:
    """Write ``text`` to ``path`` whole or not at all."""
    write_whole(path, lambda made: made.write_text(text, encoding="utf-8"), force=force)


def write_json(path: Path, document: Any, *, force: bool = False) -> None:
    """Write ``document`` to ``path`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(document, indent=1, allow_nan=False) + "\n", force=force)
