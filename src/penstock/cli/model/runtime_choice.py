"""The options that choose what runs a model and on which device, and the resulting settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, TypeVar

import click

from penstock.cli.common.numbers import FiniteRange
from penstock.errors import BadInputError
from penstock.runtime.settings import KINDS, MODES, PRECISIONS, RuntimeSettings

Command = TypeVar("Command", bound=Callable[..., Any])


def runtime_options(command: Command) -> Command:
    """``--executor``, ``--device``, ``--precision``, ``--mode``, ``--provider``, ``--mps``, ``--budget-minutes``.

    The command gets the first five as ``settings``: None if none of them is given.
    """

    @wraps(command)
    def with_settings(*args: Any, **options: Any) -> Any:
        chosen = {name: options.pop(name) for name in ("executor", "device", "precision", "mode", "provider")}
        return command(*args, settings=settings_of(chosen) if any(chosen.values()) else None, **options)

    made: Any = with_settings
    for option in reversed(
        (
            click.option(
                "--executor", type=click.Choice(KINDS), help="What runs the model [default: onnxruntime]."
            ),
            click.option("--device", help="cpu (default), or cuda:N for a GPU."),
            click.option(
                "--precision", type=click.Choice(PRECISIONS), help="On a GPU [default: fp32, without TF32]."
            ),
            click.option(
                "--mode",
                type=click.Choice(MODES),
                help="How torch runs [default: graph (CUDA graphs) on a GPU, eager on the CPU].",
            ),
            click.option(
                "--provider", help="onnxruntime's execution provider [default: the first that starts]."
            ),
            click.option(
                "--mps",
                is_flag=True,
                help="Measure shares with NVIDIA's multi-process service, which is started for that.",
            ),
            click.option(
                "--budget-minutes",
                type=FiniteRange(min=0, min_open=True),
                help="For all of it, in place of --seconds. What is not done then is done by the same command again.",
            ),
        )
    ):
        made = option(made)
    return made  # type: ignore[no-any-return]


def settings_of(options: Mapping[str, Any]) -> RuntimeSettings:
    """The settings from the options. :class:`BadInputError` if they do not fit together."""
    said = {name: value for name, value in options.items() if value is not None}
    if "executor" in said:
        said["kind"] = said.pop("executor")
    if said.get("mode") is not None and said.get("kind") != "torch":
        raise BadInputError(f"--mode {said['mode']} is torch's: add --executor torch, or leave it out.")
    if said.get("provider") is not None and said.get("kind") == "torch":
        raise BadInputError(
            f"--provider {said['provider']} is onnxruntime's: leave it out with --executor torch."
        )
    return RuntimeSettings(**said)
