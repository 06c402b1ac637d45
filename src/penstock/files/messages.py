"""What is wrong with a document, in lines that name the field, the rule, the value and the fix."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MOST_PROBLEMS = 5
"""Lines of one error; a file of the wrong kind would give hundreds."""


def explain(error: ValidationError, path: Path | str, model: type[BaseModel], document: Any) -> str:
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
