"""The options of every verb that asks a server: its token, and the certificate to trust."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(dir_okay=False, path_type=Path)


def access_options(command: F) -> F:
    """Add ``--token-file`` and ``--certificate``."""
    token = click.option("--token-file", type=FILE, help="Send the first token of this file.")
    trust = click.option(
        "--certificate", type=FILE, help="Trust this certificate (PEM), for https and grpcs."
    )
    return token(trust(command))
