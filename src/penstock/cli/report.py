"""``penstock report``: plans and records into one offline HTML page, or figures for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.output import force_option, json_option, note, print_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penstock.plan.plan import Plan
    from penstock.report.page import Contents

FIGURE_FILES = ("*.svg",)


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

    A record belongs to the plan named before it; with a plan, its pools' utilisation is shown. With --figures
    an input may also be what 'penstock compare --json' printed: load factors, attainment curves, utilisation.

    \b
    Example:
      penstock report plan.json run-simulated run-measured -o report.html
      penstock compare scenarios/*.yaml --json > compare.json
      penstock report compare.json --figures figures
    """
    from penstock.errors import BadInputError
    from penstock.files import refuse_overwrite, write_text, write_whole
    from penstock.report.page import draw, render

    if output is None and figures is None:
        raise BadInputError("nothing to write: give -o PAGE.html, --figures FOLDER, or both.")
    if output is not None:
        refuse_overwrite(output, force)
    if figures is not None:
        refuse_overwrite(figures, force, FIGURE_FILES)
    contests = [path for path in inputs if path.is_file() and _is_contest(path)]
    contents = _contents(tuple(path for path in inputs if path not in contests), title)
    written = []
    if output is not None:
        write_text(output, render(contents), force=force)
        written.append(output)
    if figures is not None:
        drawn = draw(contents) | _contest_figures(contests)
        write_whole(figures, lambda made: _save_figures(drawn, made), force=force, folder_of=FIGURE_FILES)
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


def _is_contest(path: Path) -> bool:
    """Whether the file is a comparison, and not a plan."""
    from penstock.files import read_json

    document = read_json(path)
    return isinstance(document, dict) and {"attainment", "scenarios"} <= document.keys()


def _contest_figures(paths: Sequence[Path]) -> dict[str, Figure]:
    """The figures of every comparison; captions carry the file's stem where there are several."""
    from penstock.errors import BadInputError
    from penstock.files import read_json
    from penstock.report.contest_figures import draw_contest

    drawn: dict[str, Figure] = {}
    for path in paths:
        try:
            figures = draw_contest(read_json(path))
        except (KeyError, TypeError, IndexError) as error:
            raise BadInputError(
                f"{path}: is not what 'penstock compare --json' prints (at {error}). Run compare again."
            ) from None
        drawn |= {
            f"{path.stem} {caption}" if len(paths) > 1 else caption: one for caption, one in figures.items()
        }
    return drawn


def _free_name(path: Path, taken: Mapping[str, object]) -> str:
    """The file's stem, or its whole path where another input has that stem."""
    return path.stem if path.stem not in taken else str(path)


def _save_figures(drawn: Mapping[str, Figure], folder: Path) -> None:
    from penstock.report.figures import to_svg

    folder.mkdir()
    for caption, figure in drawn.items():
        # A percent sign in a name would have to be escaped in every link to it.
        name = "-".join(caption.lower().replace("%", "").split())
        (folder / f"{name}.svg").write_text(to_svg(figure), encoding="utf-8")
