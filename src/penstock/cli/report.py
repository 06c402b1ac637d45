"""``penstock report``: plans and records into one offline HTML page, or figures for papers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.output import force_option, json_option, note, print_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penstock.plan.plan import Plan
    from penstock.report.page import Contents


@click.command("report")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The HTML page to write.")
@click.option("--figures", type=click.Path(path_type=Path), help="Write each figure as SVG into this folder.")
@click.option("--title", default="Penstock report", show_default=True, help="The page's heading.")
@force_option
@json_option
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    figures: Path | None,
    title: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write one offline HTML page from plans (files) and records (folders).

    A record belongs to the plan named before it; with a plan, its pools' utilisation is shown.

    \b
    Example:
      penstock report plan.json run-simulated run-measured -o report.html
    """
    from penstock.errors import BadInputError
    from penstock.files import write_text, write_whole
    from penstock.report.page import draw, render

    if output is None and figures is None:
        raise BadInputError("nothing to write: give -o PAGE.html, --figures FOLDER, or both.")
    contents = _contents(inputs, title)
    written = []
    if output is not None:
        write_text(output, render(contents), force=force)
        written.append(output)
    if figures is not None:
        drawn = draw(contents)
        write_whole(figures, lambda made: _save_figures(drawn, made), force=force)
        written.append(figures)
    if as_json:
        print_json({"written": [str(path) for path in written]})
    else:
        for path in written:
            note(f"wrote {path}")


def _contents(inputs: tuple[Path, ...], title: str) -> Contents:
    """Read every input in order; a record takes the plan before it."""
    from penstock.plan.store import load_plan
    from penstock.record import load_record
    from penstock.report.page import Contents, Run

    plans: dict[str, Plan] = {}
    runs: dict[str, Run] = {}
    plan: Plan | None = None
    for path in inputs:
        if path.is_dir():
            runs[_free_name(path, runs)] = Run(load_record(path), plan)
        else:
            plan = load_plan(path).plan
            plans[_free_name(path, plans)] = plan
    return Contents(title, plans, runs)


def _free_name(path: Path, taken: Mapping[str, object]) -> str:
    """The file's stem, or its whole path where another input has that stem."""
    return path.stem if path.stem not in taken else str(path)


def _save_figures(drawn: Mapping[str, Figure], folder: Path) -> None:
    from penstock.report.figures import to_svg

    folder.mkdir()
    for caption, figure in drawn.items():
        name = "-".join(caption.lower().split())
        (folder / f"{name}.svg").write_text(to_svg(figure), encoding="utf-8")
