"""One offline HTML page from plans and records. It has no scripts, loads nothing, and contains its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

from penstock import __version__
from penstock.errors import BadInputError, MissingExtraError
from penstock.plan.documents.plan import Plan
from penstock.record import Record
from penstock.report.figures import to_svg
from penstock.report.findings.fleet_use import ClassUse, class_uses, cost_per_million_met
from penstock.report.findings.over_time import over_time
from penstock.report.findings.promises import StagePromise, stage_promises
from penstock.report.findings.time_parts import path_times
from penstock.report.findings.verdict import Verdict, target_of, verdicts
from penstock.report.findings.worst_second import worst_second
from penstock.report.flow import FlowModel, flow_of
from penstock.report.palette import COLOURS, DARK_COLOURS, PAGE_COLOURS, colours_of
from penstock.report.pictures.batch_sizes import batch_size_picture
from penstock.report.pictures.gantt import gantt_picture
from penstock.report.pictures.latency import latency_picture
from penstock.report.pictures.picture import Picture
from penstock.report.pictures.pool_bars import pool_bars
from penstock.report.pictures.time_bars import time_bars
from penstock.report.pictures.timeline import timeline_picture
from penstock.report.pools import PoolUse, pool_uses


@dataclass(frozen=True)
class Run:
    """A record and, if it is known, the plan that it ran. Together they give the use of the pools."""

    record: Record
    plan: Plan | None = None


@dataclass(frozen=True)
class Contents:
    """What a page shows. ``plans`` and ``runs`` are by the name that readers see. ``notes`` are paragraphs.

    ``idle_reasons``: by plan, what returns sentences that say why devices are idle; it is asked last, so that it can
    work while the page is drawn. ``origins``: by plan, how its profiles were made, as (model, text).
    """

    title: str
    plans: Mapping[str, Plan] = field(default_factory=dict)
    runs: Mapping[str, Run] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    idle_reasons: Mapping[str, Callable[[], list[str]]] = field(default_factory=dict)
    origins: Mapping[str, list[tuple[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class ShownRun:
    """The numbers of one run."""

    name: str
    source: str
    about: Mapping[str, str | int | float]
    verdicts: list[Verdict]
    promises: list[StagePromise]
    million_cost: float | None


@dataclass(frozen=True)
class ShownPlan:
    """A plan as the page shows it."""

    name: str
    plan: Plan
    flow: list[FlowModel]
    classes: list[ClassUse]
    idle_reasons: list[str]
    origins: list[tuple[str, str]]


def render(contents: Contents) -> str:
    """The page as HTML text. Raises :class:`BadInputError` if there is nothing to show."""
    if not contents.plans and not contents.runs:
        raise BadInputError("nothing to report: name at least one plan or record.")
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError("writing a report", "report") from None
    # First, because it refuses a record of another plan.
    uses = _uses(contents)
    promises = _promises(contents)
    source = files("penstock.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    pictures = [
        (picture, to_svg(picture.figure, PAGE_COLOURS, prefix=f"p{number}-"))
        for number, picture in enumerate(_pictures(contents, uses, promises))
    ]
    return environment.from_string(source).render(
        contents=contents,
        version=__version__,
        runs=[_shown_run(name, run, promises[name]) for name, run in contents.runs.items()],
        plans=[_shown_plan(contents, name, plan) for name, plan in contents.plans.items()],
        uses=uses,
        pictures=pictures,
        colours=list(zip(COLOURS, DARK_COLOURS, strict=True)),
    )


def draw(contents: Contents) -> list[Picture]:
    """The pictures of the page: latencies of each model, then those of each run, then the use of the pools."""
    return list(_pictures(contents, _uses(contents), _promises(contents)))


def _pictures(
    contents: Contents, uses: Mapping[str, list[PoolUse]], promises: Mapping[str, list[StagePromise]]
) -> Iterator[Picture]:
    colours = colours_of(contents.runs)
    records = {name: run.record for name, run in contents.runs.items()}
    for model in dict.fromkeys(m for record in records.values() for m in record.models):
        having = {name: record for name, record in records.items() if model in record.models}
        yield latency_picture(having, model, colours)
    for name, run in contents.runs.items():
        yield from _pictures_of(name, run, promises[name])
    if uses:
        yield pool_bars(uses, colours)


def _pictures_of(name: str, run: Run, promises: list[StagePromise]) -> Iterator[Picture]:
    plan = run.plan
    if run.record.requests.arrival_us.size:
        yield timeline_picture(name, over_time(run.record, plan), target_of(plan))
    paths = path_times(run.record)
    if paths:
        yield time_bars(name, paths)
    if promises:
        yield batch_size_picture(name, promises)
    worst = worst_second(run.record)
    if worst is not None:
        yield gantt_picture(name, run.record, worst, plan)


def _promises(contents: Contents) -> dict[str, list[StagePromise]]:
    """By run, its stages; none without a plan or without batches."""
    return {
        name: stage_promises(run.record, run.plan)
        if run.plan is not None and run.record.batches.batch.size
        else []
        for name, run in contents.runs.items()
    }


def _shown_run(name: str, run: Run, promises: list[StagePromise]) -> ShownRun:
    found = verdicts(run.record, run.plan)
    return ShownRun(
        name,
        run.record.source,
        run.record.about,
        found,
        promises,
        cost_per_million_met(run.plan, found) if run.plan is not None else None,
    )


def _shown_plan(contents: Contents, name: str, plan: Plan) -> ShownPlan:
    return ShownPlan(
        name,
        plan,
        flow_of(plan),
        class_uses(plan),
        contents.idle_reasons.get(name, list)(),
        contents.origins.get(name, []),
    )


def _uses(contents: Contents) -> dict[str, list[PoolUse]]:
    uses = {n: pool_uses(run.record, run.plan) for n, run in contents.runs.items() if run.plan is not None}
    return {name: pools for name, pools in uses.items() if pools}
