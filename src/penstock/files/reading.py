"""Documents read from files: text, JSON, YAML, and their validation against a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from penstock.errors import BadInputError
from penstock.files.messages import explain

M = TypeVar("M", bound=BaseModel)


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
    text = read_text(path)
    try:
        return json.loads(text, object_pairs_hook=_fields_once)
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
        raise BadInputError(explain(error, path, model, document)) from None
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{path}: holds a value that no field takes: {error}.") from None
