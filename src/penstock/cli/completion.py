"""``penstock completion``: let a shell complete verbs, options and file names."""

from __future__ import annotations

import os
from pathlib import Path

import click

from penstock.cli.common.output import force_option, note

VARIABLE = "_PENSTOCK_COMPLETE"
"""The variable through which the shell's script asks for completions. Click derives it from the command's name."""


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option(
    "--install", is_flag=True, help="Write the script where SHELL looks for it, in your home folder."
)
@force_option
def command(shell: str, install: bool, force: bool) -> None:
    """Print the script that lets SHELL complete penstock's verbs and options, or install it.

    \b
    Example:
      penstock completion bash --install
      penstock completion zsh > ~/.zfunc/_penstock
    """
    from click.shell_completion import get_completion_class

    from penstock.cli.main import cli
    from penstock.files import write_text

    kind = get_completion_class(shell)
    assert kind is not None
    script = kind(cli, {}, "penstock", VARIABLE).source()
    if not install:
        click.echo(script)
        return
    path = _place(shell)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, script, force=force)
    note(f"Wrote {path}. Start a new shell to use it.")
    if shell == "zsh":
        note("zsh reads it if ~/.zshrc has, before compinit: fpath+=(~/.zfunc)")


def _place(shell: str) -> Path:
    """The file that ``shell`` reads by itself."""
    if shell == "bash":
        data = os.environ.get("XDG_DATA_HOME") or str(Path.home() / ".local" / "share")
        return Path(data) / "bash-completion" / "completions" / "penstock"
    if shell == "fish":
        config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
        return Path(config) / "fish" / "completions" / "penstock.fish"
    return Path.home() / ".zfunc" / "_penstock"
