"""How far a verb is: one progress bar with the time left, on a terminal, for every verb that takes long.

``-v`` prints each step as a line instead, also into a file. ``--quiet`` shows neither. The bar appears only when a
verb has taken some time, and goes away before anything is printed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

import click

from penstock.progress import Step, watched

if TYPE_CHECKING:
    from rich.progress import Progress as RichBar
    from rich.progress import TaskID

QUICK_S = 1.0
"""A verb that ends sooner shows no bar."""


@final
class Bar:
    """The watcher of the command line. ``verbosity``: -1 quiet, 0 a bar on a terminal, 1 a line for each step."""

    def __init__(self) -> None:
        self.verbosity = 0
        self._began = time.monotonic()
        self._drawn: RichBar | None = None
        self._task: TaskID | None = None
        self._last = ""

    def __call__(self, step: Step) -> None:
        """Show ``step``."""
        if self.verbosity > 0:
            self._line(step)
        elif self.verbosity == 0 and sys.stderr.isatty() and time.monotonic() - self._began > QUICK_S:
            self._draw(step)

    def stop(self) -> None:
        """Take the bar away, so that other text can be printed."""
        if self._drawn is not None:
            self._drawn.stop()
            self._drawn = None

    def _line(self, step: Step) -> None:
        total = "" if step.total is None else f" of {step.total:g}"
        line = f"{step.what} ({step.done:g}{total})"
        if line != self._last:
            click.echo(line, err=True)
        self._last = line

    def _draw(self, step: Step) -> None:
        if self._drawn is None:
            self._drawn = _bar()
            self._task = self._drawn.add_task(step.what, total=step.total)
            self._drawn.start()
        assert self._task is not None
        self._drawn.update(self._task, description=step.what, completed=step.done, total=step.total)


BAR = Bar()


@contextmanager
def watched_by_the_bar() -> Iterator[None]:
    """All work inside is shown."""
    with watched(BAR):
        try:
            yield
        finally:
            BAR.stop()


def add_verbosity(command: click.Command) -> None:
    """Give ``command``, or each command of a group, the options ``-v`` and ``--quiet``."""
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            add_verbosity(inner)
    elif not any(parameter.name == "verbosity" for parameter in command.params):
        command.params += [
            click.Option(
                ["-v", "--verbose", "verbosity"],
                is_flag=True,
                expose_value=False,
                callback=_set_to(1),
                help="Print each step of long work as a line, in place of a progress bar.",
            ),
            click.Option(
                ["--quiet", "silence"],
                is_flag=True,
                expose_value=False,
                callback=_set_to(-1),
                help="Show no progress.",
            ),
        ]


def _set_to(verbosity: int) -> Any:
    def chosen(context: click.Context, parameter: click.Parameter, value: bool) -> None:
        if value:
            BAR.verbosity = verbosity

    return chosen


def _bar() -> RichBar:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
