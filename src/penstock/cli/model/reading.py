"""The options that say what an ONNX file leaves open: lengths of free axes, inputs that never change, the batch."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def reading_options(command: Command) -> Command:
    """``--dim``, ``--input`` and ``--free-batch``; the command gets them as ``reading``."""

    @wraps(command)
    def with_reading(
        *args: Any, dims: tuple[str, ...], values: tuple[str, ...], free_batch: bool, **rest: Any
    ) -> Any:
        from penstock.graph.reading.options import parse_read_options

        return command(*args, reading=parse_read_options(dims, values, free_batch), **rest)

    made: Any = with_reading
    for option in (
        click.option(
            "--free-batch",
            is_flag=True,
            help="Re-make a model of a fixed batch with a free one. 'profile' compares the outputs with the file's.",
        ),
        click.option(
            "--input",
            "values",
            multiple=True,
            metavar="NAME=VALUE",
            help="Fix an input that is the same for all requests, such as sr=16000 (JSON, repeatable).",
        ),
        click.option(
            "--dim",
            "dims",
            multiple=True,
            metavar="AXIS=LENGTH",
            help="Fix a free axis by its name (tokens=128), its number (2=640) or both (image:2=640). Repeatable.",
        ),
    ):
        made = option(made)
    return made  # type: ignore[no-any-return]
