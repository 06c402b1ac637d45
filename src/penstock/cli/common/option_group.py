"""Options that several verbs share, or that one verb has many of: the command gets them as one value."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

Command = Callable[..., None]
Decorator = Callable[[Any], Any]


def option_group(
    name: str, dataclass_of_options: type[Any], options: Sequence[Decorator]
) -> Callable[[Command], Command]:
    """A decorator that adds ``options`` to a command, in this order. The command gets them as the argument ``name``:
    ``dataclass_of_options`` has a field for each option, with the option's name."""

    def add(command: Command) -> Command:
        @functools.wraps(command)
        def with_group(*arguments: Any, **given: Any) -> None:
            fields = {field: given.pop(field) for field in dataclass_of_options.__dataclass_fields__}
            command(*arguments, **{name: dataclass_of_options(**fields)}, **given)

        for option in reversed(options):
            with_group = option(with_group)
        return with_group

    return add
