"""Files: validated whole on load, written whole or not at all, never overwritten unasked."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from penstock.errors import BadInputError

M = TypeVar("M", bound=BaseModel)


class StrictModel(BaseModel):
    """Base of every file model: immutable, no unknown fields, no silent coercion of strings to numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def read_text(path: Path) -> str:
    """The text of ``path``; :class:`BadInputError` if it is missing, a folder, or not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file. Check the path, or create the file first.") from None
    except IsADirectoryError:
        raise BadInputError(f"{path}: is a folder, but a file is needed. Name the file inside it.") from None
    except UnicodeDecodeError:
        raise BadInputError(f"{path}: is not UTF-8 text. Is it the right file?") from None
    except OSError as error:
        raise BadInputError(f"{path}: cannot be read ({error.strerror}).") from None


def read_json(path: Path) -> Any:
    """The JSON document in ``path``; errors name the line and column."""
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{path}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}."
        ) from None


def read_yaml(path: Path) -> Any:
    """The YAML document in ``path``; errors name the line."""
    try:
        return yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise BadInputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def validate(model: type[M], document: Any, path: Path) -> M:
    """``document`` as a ``model``; errors name the file, the field, the value and the rule."""
    try:
        return model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise BadInputError(_explain(error, path)) from None
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{path}: holds a value that no field takes: {error}.") from None


def _explain(error: ValidationError, path: Path) -> str:
    """One line per problem: file, field, rule, value, and the fix where pydantic's text lacks one."""
    lines = []
    for problem in error.errors(include_url=False):
        where = ".".join(str(part) for part in problem["loc"]) or "(the whole file)"
        value = repr(problem.get("input"))
        shown = value if len(value) <= 80 else value[:77] + "..."
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path}: {where}: unknown field (value {shown}). Remove it or correct its name.")
        elif problem["type"] == "missing":
            lines.append(f"{path}: {where}: required field is missing. Add it.")
        else:
            lines.append(f"{path}: {where}: {problem['msg']} (value {shown}).")
    return "\n".join(lines)


def refuse_overwrite(path: Path, force: bool) -> None:
    """Raise :class:`BadInputError` if ``path`` exists and ``force`` is not given."""
    if path.exists() and not force:
        raise BadInputError(f"{path}: exists already. Name another output, or pass --force to replace it.")


def write_whole(path: Path, write: Callable[[Path], object], *, force: bool = False) -> None:
    """Create the file or folder ``path`` by ``write(temporary path)``, then move it into place.

    The temporary is a sibling, so the move is atomic for files; on any error it is removed and
    what stood at ``path`` before is untouched.
    """
    refuse_overwrite(path, force)
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
