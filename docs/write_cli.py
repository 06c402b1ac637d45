"""Write ``docs/cli.md`` from the commands' own help; a test holds it current."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# Click wraps its help to the terminal; the page must not depend on who builds it.
os.environ["COLUMNS"] = "100"

import click

from penstock.cli.main import VERBS, cli

PAGE = Path(__file__).parent / "cli.md"
HEAD = """# Command line

Written by `docs/write_cli.py` from `penstock VERB --help`. Exit status 0 is done, 1 an internal fault,
2 bad input, 3 no feasible answer, 4 a requirement missed (`load --require`). With `--json` one JSON document goes to
standard output and everything
else to standard error; where the verb fails, the document has `error` and `exit_status`.
"""


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command and sub-command with its full name, in the order of the pipe."""
    context = click.Context(cli, info_name="penstock")
    for verb in VERBS:
        command = cli.get_command(context, verb)
        assert command is not None
        yield f"penstock {verb}", command
        if isinstance(command, click.Group):
            for name, inner in command.commands.items():
                yield f"penstock {verb} {name}", inner


def page() -> str:
    """The whole page as MyST text."""
    parts = [HEAD]
    for name, command in commands():
        # With the group's own settings: click keeps the help option of whichever context asked first.
        context = click.Context(command, info_name=name, max_content_width=100, **cli.context_settings)
        parts.append(f"\n## {name}\n\n```text\n{command.get_help(context).strip()}\n```\n")
    return "".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
