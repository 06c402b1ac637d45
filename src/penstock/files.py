"""Files: validated whole on load, written whole or not at all, never overwritten unasked."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, StringConstraints, ValidationError

from penstock.errors import BadInputError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

M = TypeVar("M", bound=BaseModel)


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]*$")]
"""Names that stand in URLs, file names and tables: letters, digits, and ``_ . + -`` inside."""


def within(low: float, high: float, *, or_zero: bool = False) -> AfterValidator:
    """A rule for a number's field: from ``low`` to ``high``, or 0 where that stands for none.

    Bounds are for quantities, not for taste: what lies beyond is a slip of the pen or the unit, and would
    reach an optimiser whose tolerances are absolute.
    """

    def check(value: float) -> float:
        if not (low <= value <= high or (or_zero and value == 0)):
            raise ValueError(f"must be {'0, or ' if or_zero else ''}from {low:g} to {high:g}")
        return value

    return AfterValidator(check)


MOST_PROBLEMS = 5
"""Lines of one error; a file of the wrong kind would give hundreds."""


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
        return json.loads(read_text(path), object_pairs_hook=_fields_once)
    except json.JSONDecodeError as error:
        raise BadInputError(
            f"{path}: line {error.lineno}, column {error.colno}: not JSON: {error.msg}."
        ) from None
    except BadInputError as error:
        raise BadInputError(f"{path}: {error}") from None


def _fields_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInputError(f"field {twice!r} is given twice in one place. Keep one.")
    return fields


class _FieldsOnce(yaml.SafeLoader):
    """YAML's own loader keeps the last of two fields of one name; neither may be lost silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """``node`` as a dict; :class:`yaml.constructor.ConstructorError` where a field is given twice."""
        seen: set[str] = set()
        for key, _ in node.value:
            # "<<" merges another mapping in, which the fields beside it are meant to override.
            if key.tag != "tag:yaml.org,2002:merge" and isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    problem = f"field {key.value!r} is given twice in one place. Keep one"
                    raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> Any:
    """The YAML document in ``path``; errors name the line."""
    try:
        return yaml.load(read_text(path), _FieldsOnce)  # a SafeLoader
    except yaml.YAMLError as error:
        raise BadInputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None


def validate(model: type[M], document: Any, path: Path) -> M:
    """``document`` as a ``model``; errors name the file, the field, the value and the rule."""
    try:
        return model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        raise BadInputError(_explain(error, path, model, document)) from None
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{path}: holds a value that no field takes: {error}.") from None


def _explain(error: ValidationError, path: Path, model: type[BaseModel], document: Any) -> str:
    """One line per problem: file, field, rule, value and the fix."""
    problems = error.errors(include_url=False)
    lines = [
        f"{path}: {_where(problem['loc'], document)}: {_rule(problem, model)}"
        for problem in problems[:MOST_PROBLEMS]
    ]
    if len(problems) > MOST_PROBLEMS:
        lines.append(
            f"{path}: {len(problems) - MOST_PROBLEMS} more problems. Is it a file of the right kind "
            f"({model.__name__.lower()})?"
        )
    return "\n".join(lines)


def _where(location: tuple[int | str, ...], document: Any) -> str:
    """The field's path; an entry of a list goes by its name where it has one."""
    parts = []
    for part in location:
        try:
            document = document[part]
        except (KeyError, IndexError, TypeError):
            document = None
        name = document.get("name") if isinstance(part, int) and isinstance(document, dict) else None
        parts.append(f"{part} ({name!r})" if name is not None else str(part))
    return ".".join(parts) or "(the whole file)"


def _rule(problem: ErrorDetails, model: type[BaseModel]) -> str:
    kind, value = problem["type"], repr(problem.get("input"))
    if kind == "missing":
        return "required field is missing. Add it."
    if kind == "extra_forbidden":
        name = str(problem["loc"][-1])
        near = get_close_matches(name, _field_names(model), n=3, cutoff=0.5)
        fix = f"Did you mean {' or '.join(near)}?" if near else "Remove it or correct its name."
        return f"unknown field (value {_short(value)}). {fix}"
    if kind == "value_error":
        # Our own validators say what to do; where they look at a whole object, they name the value too.
        shown = "" if isinstance(problem.get("input"), dict) else f" (value {_short(value)})"
        return f"{problem['ctx']['error']}{shown}."
    fix = _FIXES.get(kind, "Correct it.")
    rule = _RULES.get(kind, problem["msg"].removeprefix("Input "))
    return f"{rule.format(**problem.get('ctx', {}))} (value {_short(value)}). {fix}"


_RULES = {
    "string_pattern_mismatch": "is not a name as it may stand here",
    "too_short": "needs at least {min_length}",
    "model_type": "must be an object with fields",
    "dict_type": "must be an object with fields",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "literal_error": "must be {expected}",
    "bool_type": "must be true or false",
}
"""Rules in the words of the files, where the validating library's are those of its own insides."""

_FIXES = {
    "int_type": "Write a whole number without quotes or unit: the unit is in the field's name.",
    "float_type": "Write a number without quotes or unit: the unit is in the field's name.",
    "string_type": "Write a text.",
    "string_pattern_mismatch": "Use letters, digits, and _ . + - inside.",
    "int_from_float": "Round it to a whole number.",
    "finite_number": "Write a finite number.",
    "too_short": "Add at least one.",
}


def _field_names(model: type[BaseModel]) -> set[str]:
    """Every field of ``model`` and of the models inside it."""
    schema = model.model_json_schema()
    parts = [schema, *schema.get("$defs", {}).values()]
    return {name for part in parts for name in part.get("properties", {})}


def _short(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "..."


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
