"""``penstock replay``: what was recorded, once more, without devices."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.numbers import seed_option
from penstock.cli.common.output import force_option, json_option, note, print_json, print_table
from penstock.cli.common.policies import DEFAULT_POLICY, POLICIES

if TYPE_CHECKING:
    from penstock.record import Record
    from penstock.report.replayed import ModelReplay

MOST_SHOWN = 5


@dataclass(frozen=True)
class _World:
    """How the simulated fleet behaves, from the options."""

    policy: str
    seed: int
    noise: bool
    dispatch_us: int | None
    overhead_us: int | None


@click.command()
@click.argument("path", metavar="RECORD|JOURNAL", type=click.Path(path_type=Path))
@click.option(
    "--plan", "plan_path", type=click.Path(path_type=Path), help="The plan that a RECORD's requests meet."
)
@click.option("--policy", type=click.Choice(POLICIES), default=DEFAULT_POLICY, show_default=True)
@seed_option("the noise")
@click.option("--noise/--no-noise", default=True, show_default=True, help="Draw latencies from the profile.")
@click.option(
    "--dispatch-us",
    type=click.IntRange(min=0),
    help="Cost of starting a batch. Default: what 'serve' assumes, for a record of a server; else 0.",
)
@click.option(
    "--overhead-us", type=click.IntRange(min=0), help="Added to each request. Default: as for --dispatch-us."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Write the replay's record (a folder).")
@force_option
@json_option
def command(
    path: Path,
    plan_path: Path | None,
    policy: str,
    seed: int,
    noise: bool,
    dispatch_us: int | None,
    overhead_us: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Replay a RECORD's requests through the simulator, or a JOURNAL's calls through the policy.

    A RECORD is a folder that 'serve --record', 'load --record' or 'simulate -o' wrote. Its requests, with their times
    and deadlines, meet --plan once more: the plan that was served, to compare what was promised with what happened, or
    another one, to see what it would have done.

    A JOURNAL is a file that 'serve --journal' wrote. A fresh policy gets the same calls, and must decide the same. If
    it does not, the exit status is 1.

    \b
    Example:
      penstock replay run --plan plan.json
      penstock replay run --plan larger-plan.json --policy penstock -o run-on-larger
      penstock replay run.journal
    """
    from penstock.errors import BadInputError

    if path.is_dir():
        if plan_path is None:
            raise BadInputError(f"{path} is a record: give the plan that its requests meet with --plan.")
        _replay_record(
            path, plan_path, _World(policy, seed, noise, dispatch_us, overhead_us), output, force, as_json
        )
        return
    if plan_path is not None or output is not None:
        raise BadInputError(f"{path} is a journal, which has its own plan: leave out --plan and -o.")
    _replay_journal(path, as_json)


def _replay_record(
    path: Path, plan_path: Path, world: _World, output: Path | None, force: bool, as_json: bool
) -> None:
    from penstock.files import refuse_overwrite
    from penstock.plan.documents.store import load_plan
    from penstock.record import RECORD_FILES, load_record, save_record
    from penstock.report.replayed import compare_replay

    if output is not None:
        refuse_overwrite(output, force, RECORD_FILES)
    record = load_record(path)
    replayed = _simulated(record, plan_path, load_plan(plan_path), world)
    if output is not None:
        save_record(replayed, output, force=force)
        note(f"Wrote the record of the replay to {output}.")
    models = compare_replay(record, replayed)
    if as_json:
        print_json(
            {"models": [asdict(one) for one in models], "source": record.source, "plan": str(plan_path)}
        )
        return
    print_table(
        f"{path} ({record.source}), and its requests on {plan_path}",
        [
            "model",
            "",
            "requests",
            "attainment",
            "goodput/s",
            "p50 ms",
            "p99 ms",
            "met here only",
            "same fate",
        ],
        [row for one in models for row in _rows(one)],
    )


def _simulated(record: Record, plan_path: Path, loaded: Any, world: _World) -> Record:
    from dataclasses import replace

    from penstock.plan.dispatch_table import dispatch_table
    from penstock.simulate.every_policy import simulate_policy
    from penstock.simulate.recorded_arrivals import recorded_arrivals

    dispatch_us, overhead_us = _costs(record, world)
    names = [model.name for model in loaded.plan.models]
    made = simulate_policy(
        dispatch_table(loaded.plan, loaded.profiles),
        recorded_arrivals(record, names),
        model_names=names,
        seed=world.seed,
        noise=world.noise,
        dispatch_us=dispatch_us,
        overhead_us=overhead_us,
        policy=world.policy,
    )
    about: dict[str, str | int | float] = {
        "command": "replay",
        "plan": str(plan_path),
        "policy": world.policy,
        "seed": world.seed,
    }
    return replace(made, about=about)


def _costs(record: Record, world: _World) -> tuple[int, int]:
    """What a batch and a request cost beside their execution."""
    given = world.dispatch_us, world.overhead_us
    assumed = (0, 0)
    if record.source == "measured" and None in given:
        from penstock.serve import require_extra

        require_extra("replay of a server's record without --dispatch-us and --overhead-us")
        from penstock.serve.spec import DISPATCH_US, OVERHEAD_US

        assumed = (DISPATCH_US, OVERHEAD_US)
    dispatch_us, overhead_us = (a if g is None else g for g, a in zip(given, assumed, strict=True))
    return dispatch_us, overhead_us


def _rows(one: ModelReplay) -> list[list[object]]:
    sides = (("record", one.record, one.only_record), ("replay", one.replay, one.only_replay))
    return [
        [
            one.name if side == "record" else "",
            side,
            summary.requests,
            f"{summary.attainment:.2%}",
            f"{summary.goodput_rps:.1f}",
            *("-" if us < 0 else f"{us / 1e3:.2f}" for us in (summary.p50_us, summary.p99_us)),
            only,
            f"{one.agreement:.2%}" if side == "record" else "",
        ]
        for side, summary, only in sides
    ]


def _replay_journal(path: Path, as_json: bool) -> None:
    from penstock.errors import PenstockError
    from penstock.serve import require_extra

    require_extra("replay of a journal")
    from penstock.serve.dispatcher.journal import read_journal
    from penstock.serve.dispatcher.journal_replay import replay_journal

    journal = read_journal(path)
    made = replay_journal(journal)
    if as_json:
        print_json({**asdict(made), "policy": journal.policy, "epoch": journal.epoch})
    else:
        print_table(
            f"{path}, policy {journal.policy}",
            ["calls", "decisions", "batches", "requests", "drops", "differ"],
            [[made.calls, made.decisions, made.batches, made.requests, made.drops, len(made.differing)]],
        )
    if made.differing:
        shown = ", ".join(map(str, made.differing[:MOST_SHOWN]))
        raise PenstockError(
            f"{len(made.differing)} decisions differ from the journal's (the first: {shown}): the policy is not the "
            f"one that wrote it, or the file was changed."
        )
