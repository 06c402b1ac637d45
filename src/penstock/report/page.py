"""One offline HTML page from plans and records: no scripts, no links, pictures inside."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from penstock import __version__
from penstock.errors import BadInputError, MissingExtraError
from penstock.plan.plan import Plan
from penstock.record import Record
from penstock.report import figures
from penstock.report.palette import colours_of
from penstock.report.pools import PoolUse, pool_uses
from penstock.report.summary import ModelSummary, summarise

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Run:
    """A record and, where it is known, the plan it ran; together they give the use of the pools."""

    record: Record
    plan: Plan | None = None


@dataclass(frozen=True)
class Contents:
    """What a page shows. ``plans`` and ``runs`` by the name that readers see; ``notes`` are paragraphs."""

    title: str
    plans: Mapping[str, Plan] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def render(contents: Contents) -> str:
    """The page as HTML text. Raises :class:`BadInputError` when there is nothing to show."""
    if not contents.plans and not contents.runs:
        raise BadInputError("nothing to report: name at least one plan or record.")
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("writing a report", "report") from None
    source = files("penstock.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    uses = _uses(contents)
    return environment.from_string(source).render(
        contents=contents,
        version=__version__,
        summaries=_summaries(contents),
        uses=uses,
        pictures={name: figures.to_svg(figure) for name, figure in draw(contents).items()},
    )


def draw(contents: Contents) -> dict[str, Figure]:
    """The figures of the page by caption: latency per model, then the use of the pools."""
    drawn = {}
    colours = colours_of(contents.runs)
    records = {name: run.record for name, run in contents.runs.items()}
    for model in dict.fromkeys(m for record in records.values() for m in record.models):
        having = {name: record for name, record in records.items() if model in record.models}
        drawn[f"Latency distribution of {model}"] = figures.latency_distribution(having, model, colours)
    uses = _uses(contents)
    if uses:
        drawn["Utilisation of the pools"] = figures.pool_utilisation(uses, colours)
    return drawn


def _summaries(contents: Contents) -> list[tuple[str, str, ModelSummary]]:
    return [
        (name, run.record.source, summary)
        for name, run in contents.runs.items()
        for summary in summarise(run.record)
    ]


def _uses(contents: Contents) -> dict[str, list[PoolUse]]:
    uses = {n: pool_uses(run.record, run.plan) for n, run in contents.runs.items() if run.plan is not None}
    return {name: pools for name, pools in uses.items() if pools}
