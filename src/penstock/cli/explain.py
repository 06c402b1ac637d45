"""``penstock explain``: what binds a plan, and why not otherwise."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from penstock.cli.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from penstock.plan.explain import Explanation, WhyNot


@click.command(name="explain")
@click.argument("plan_path", metavar="PLAN", type=click.Path(path_type=Path))
@json_option
def command(plan_path: Path, as_json: bool) -> None:
    """Say what binds PLAN: slack, pools, device classes, links, SLOs; and why idle devices stay idle.

    Worths are of the relaxation, which shares out parts of devices; `penstock capacity` plans again instead.

    \b
    Example:
      penstock explain plan.json
    """
    from penstock.plan.explain import explain
    from penstock.plan.store import load_plan

    loaded = load_plan(plan_path)
    found = explain(loaded.plan, loaded.profiles)
    if as_json:
        print_json(asdict(found))
        return
    is_cost = loaded.plan.scenario.planner.objective == "cost"
    _print_pools(found)
    _print_worths(found, "an hour" if is_cost else "requests/s per unit of weight")
    for reason in found.why_not:
        click.echo(_why_not(reason))
    click.echo(f"objective   {loaded.plan.objective:.4f}")
    click.echo(f"relaxation  {found.relaxation:.4f} (were workers and devices not whole)")


def _print_pools(found: Explanation) -> None:
    print_table(
        "Where the SLO goes, in ms",
        ["model", "pipeline", "slo", "margin", "gather", "infer", "transfer", "slack", "of slo"],
        [
            (
                s.model,
                s.pipeline,
                *(
                    f"{part_us / 1e3:.3f}"
                    for part_us in (
                        s.slo_us,
                        s.margin_us,
                        s.gather_us,
                        s.inference_us,
                        s.transfer_us,
                        s.slack_us,
                    )
                ),
                f"{s.slack_share:.1%}",
            )
            for s in found.slack
        ],
    )
    print_table(
        "Pools",
        ["model", "pipeline", "stage", "class", "workers", "rate/s", "used", "limited by"],
        [
            (
                p.model,
                p.pipeline,
                p.stage,
                _unit(p.device_class, p.share),
                p.workers,
                f"{p.rate_rps:.1f}",
                f"{p.used:.1%}",
                p.limited_by
                if p.limited_by == "inference"
                else f"interface ({p.inference_rps:.1f}/s without)",
            )
            for p in found.pools
        ],
    )
    if found.shared_pools:
        print_table(
            "Shared pools",
            ["class", "stage", "workers", "used", "serves"],
            [
                (_unit(p.device_class, p.share), p.place, p.workers, f"{p.used:.1%}", ", ".join(p.stages))
                for p in found.shared_pools
            ],
        )


def _unit(device_class: str, share: int) -> str:
    return device_class if share == 1 else f"{device_class} 1/{share}"


def _print_worths(found: Explanation, unit: str) -> None:
    print_table(
        f"Device classes; worth of one more in {unit}",
        ["class", "used", "in service", "worth", "binds"],
        [
            (c.device_class, c.used, c.available, f"{c.worth:.4f}", "yes" if c.binds else "no")
            for c in found.classes
        ],
    )
    print_table(
        f"SLOs; worth of the nearest longer one that helps, in {unit}",
        ["model", "slo ms", "next ms", "worth", "by"],
        [
            (s.model, f"{s.slo_us / 1e3:.3f}", "-", "-", "no slower pipeline up to twice the SLO helps")
            if s.better_slo_us is None
            else (
                s.model,
                f"{s.slo_us / 1e3:.3f}",
                f"{s.better_slo_us / 1e3:.3f}",
                f"{s.worth:.4f}",
                s.pipeline,
            )
            for s in found.slos
        ],
    )


def _why_not(reason: WhyNot) -> str:
    """Why idle devices of a class do not serve a model, as a sentence."""
    start = f"{reason.idle} {reason.device_class} idle, {reason.model}: "
    fastest = f"the fastest pipeline through {reason.device_class} ({reason.fastest})"
    limit = f"the SLO less its margin, {reason.limit_us / 1e3:.3f} ms"
    if reason.misses_by_us > 0:
        return (
            f"{start}{fastest} takes {reason.latency_us / 1e3:.3f} ms and misses {limit}, by "
            f"{reason.misses_by_us / 1e3:.3f} ms"
        )
    if reason.extra_cost is None:
        return f"{start}{fastest} fits {limit}, but the model does not hold the objective back"
    if reason.extra_cost > 1e-6:
        return (
            f"{start}{fastest} fits {limit}, but the best through it needs scarce devices worth "
            f"{reason.extra_cost:.1%} more than its rate"
        )
    beside = (
        f"for want of {', '.join(reason.scarce)}" if reason.scarce else "as whole devices do not come out"
    )
    return (
        f"{start}{fastest} fits {limit}, and the best through it is worth its devices; no more of it {beside}"
    )
