"""``penstock report``: one offline HTML page from plans and records, or figures for papers."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.common.output import force_option, json_option, note, print_json

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from penstock.cli.running.idle_devices import IdleDevices
    from penstock.plan.documents.plan import Plan
    from penstock.profile.table import Profile
    from penstock.report.page import Contents

FIGURE_FILES = ("*.svg", "*.csv")


@click.command("report")
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="The HTML page to write.")
@click.option(
    "--figures", type=click.Path(path_type=Path), help="Write each figure as SVG and CSV into this folder."
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path),
    help="Write the one record as trace events (Perfetto) to this file.",
)
@click.option("--title", default="Penstock report", show_default=True, help="The page's heading.")
@force_option
@json_option
def command(
    inputs: tuple[Path, ...],
    output: Path | None,
    figures: Path | None,
    trace: Path | None,
    title: str,
    force: bool,
    as_json: bool,
) -> None:
    """Write one offline HTML page from plans (files) and records (folders).

    A record belongs to the plan named before it. With a plan, its pools, promises and costs are shown. With --figures,
    an input may also be the output of 'penstock compare --json': load factors, attainment curves, utilisation.

    \b
    Example:
      penstock report plan.json run-simulated run-measured -o report.html
      penstock report plan.json run --trace run-trace.json
      penstock compare scenarios/*.yaml --json > compare.json
      penstock report compare.json --figures figures
    """
    from penstock.cli.running.idle_devices import IdleDevices
    from penstock.errors import BadInputError
    from penstock.files import refuse_overwrite

    if output is None and figures is None and trace is None:
        raise BadInputError("nothing to write: give -o PAGE.html, --figures FOLDER or --trace FILE.")
    for path, kinds in ((output, None), (trace, None), (figures, FIGURE_FILES)):
        if path is not None:
            refuse_overwrite(path, force, kinds)
    with IdleDevices() as idle, _uncollected():
        _write(inputs, output, figures, trace, title, force=force, idle=idle)
    written = [path for path in (output, trace, figures) if path is not None]
    if as_json:
        print_json({"written": [str(path) for path in written]})
    else:
        for path in written:
            note(f"wrote {path}")


@contextmanager
def _uncollected() -> Iterator[None]:
    """No search for reference cycles: it would take a tenth of the time, most of it while libraries are imported."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _write(
    inputs: tuple[Path, ...],
    output: Path | None,
    figures: Path | None,
    trace: Path | None,
    title: str,
    *,
    force: bool,
    idle: IdleDevices,
) -> None:
    """Read the inputs, and write what is asked for."""
    from penstock.files import write_text, write_whole
    from penstock.report.figures import to_svg
    from penstock.report.page import draw, render

    contests = [path for path in inputs if path.is_file() and _is_contest(path)]
    contents = _contents(
        tuple(path for path in inputs if path not in contests), title, idle if output else None
    )
    if output is not None:
        write_text(output, render(contents), force=force)
    if trace is not None:
        write_text(trace, _trace(contents), force=force)
    if figures is not None:
        texts = {
            f"{picture.file_stem}.{kind}": text
            for picture in draw(contents)
            for kind, text in (("svg", to_svg(picture.figure)), ("csv", picture.csv))
        }
        texts |= {f"{_stem(name)}.svg": to_svg(one) for name, one in _contest_figures(contests).items()}
        write_whole(figures, lambda made: _save_texts(texts, made), force=force, folder_of=FIGURE_FILES)


def _trace(contents: Contents) -> str:
    """The trace events of the one record."""
    from penstock.errors import BadInputError
    from penstock.report.trace_events import trace_events

    if len(contents.runs) != 1:
        raise BadInputError(f"--trace needs one record, and {len(contents.runs)} are named. Name one.")
    (run,) = contents.runs.values()
    return trace_events(run.record, run.plan)


def _contents(inputs: tuple[Path, ...], title: str, idle: IdleDevices | None) -> Contents:
    """Read every input in order. A record belongs to the plan before it. Without ``idle``, no reasons are asked."""
    from penstock.plan.documents.store import load_plan
    from penstock.record import load_record
    from penstock.report.page import Contents, Run

    plans: dict[str, Plan] = {}
    runs: dict[str, Run] = {}
    idle_reasons: dict[str, Callable[[], list[str]]] = {}
    origins: dict[str, list[tuple[str, str]]] = {}
    plan: Plan | None = None
    for path in inputs:
        if path.is_dir():
            runs[_free_name(path, runs)] = Run(load_record(path), plan)
        else:
            loaded = load_plan(path)
            plan = loaded.plan
            name = _free_name(path, plans)
            plans[name] = plan
            if idle is not None:
                idle_reasons[name] = idle.ask(path, plan)
            origins[name] = [(model, _origin(profile)) for model, profile in loaded.profiles.items()]
    return Contents(title, plans, runs, idle_reasons=idle_reasons, origins=origins)


def _origin(profile: Profile) -> str:
    """How a profile was made, for people."""
    made = profile.provenance
    parts = [made.kind, made.device, made.software, made.date]
    return ", ".join(part for part in parts if part)


def _is_contest(path: Path) -> bool:
    """Whether the file is a comparison, and not a plan."""
    from penstock.files import read_json

    document = read_json(path)
    return isinstance(document, dict) and {"attainment", "scenarios"} <= document.keys()


def _contest_figures(paths: Sequence[Path]) -> dict[str, Figure]:
    """The figures of every comparison. If there are several, captions contain the file's stem."""
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
    """The file's stem, or its whole path if another input has the same stem."""
    return path.stem if path.stem not in taken else str(path)


def _stem(caption: str) -> str:
    # A percent sign in a name would have to be escaped in every link to it.
    return "-".join(caption.lower().replace("%", "").split())


def _save_texts(texts: Mapping[str, str], folder: Path) -> None:
    folder.mkdir()
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
