"""What the issue asks for beside what was measured, and the table of measures."""

from __future__ import annotations

from functools import partial
from typing import Any

from traffic_parts.section_list import CURVE, SECTIONS

SHOWN = (
    "streams breaking the machine",
    "time in CONNECTED",
    "time in IDLE",
    "events a stream",
    "event mix",
    "lag-1 of IDLE",
    "classifier AUC",
    "whole streams copied",
)


def targets(found: dict[str, Any]) -> list[tuple[str, float | None, str, float | None]]:
    """(what, measured, relation, wanted); None if it was not measured."""

    def of(section: str, *path: str) -> float | None:
        value: Any = found.get(section, {})
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def measure(section: str, name: str) -> float | None:
        return of(section, "measures", name)

    def times(value: float | None, factor: float) -> float | None:
        return None if value is None else value * factor

    def apart(name: str) -> float | None:
        own, real = measure("default", name), measure("truth", name)
        return None if own is None or real is None else abs(own - real)

    own, gan = partial(measure, "default"), partial(measure, "gan")
    breaking, copied, auc = "streams breaking the machine", "whole streams copied", "classifier AUC"
    telling = "copied, 3 events or more"
    shares = (own("memorised 16-grams"), measure("truth", "memorised 16-grams"))
    more = shares[0] / shares[1] if shares[0] is not None and shares[1] else None
    return [
        ("streams breaking the machine, automaton", own(breaking), "<=", 0.0005),
        ("the same, --machine", of("default", "machine", "streams"), "<=", 0.0),
        ("the same, free", of("default", "free", "streams"), "<=", 0.01),
        ("the same, automaton, against the GAN / 500", own(breaking), "<=", times(gan(breaking), 1 / 500)),
        ("time in CONNECTED", own("time in CONNECTED"), "<=", 0.010),
        ("time in IDLE", own("time in IDLE"), "<=", 0.015),
        (
            "CONNECTED against the GAN / 10",
            own("time in CONNECTED"),
            "<=",
            times(gan("time in CONNECTED"), 0.1),
        ),
        ("IDLE against the GAN / 10", own("time in IDLE"), "<=", times(gan("time in IDLE"), 0.1)),
        ("event mix", own("event mix"), "<=", 0.003),
        ("lag-1 of IDLE, from truth", apart("lag-1 of IDLE"), "<=", 0.02),
        (auc, own(auc), "<=", 0.56),
        ("classifier AUC against clustered SMM", own(auc), "<=", measure("clustered smm", auc)),
        ("memorised n-grams, share of truth's", more, "<=", 1.1),
        (f"{copied}, at most as many as of real ones", own(copied), "<=", of("chance", "most_share")),
        (telling, own(telling), "<=", 0.0),
        ("events/s, two cores", of("speed", "kernel, two cores", "events_per_s"), ">=", 250_000),
        ("events a CPU second, times published", of("speed", "times published, a CPU second"), ">=", 10),
        ("fine-tuning, times less", of("fine-tuning", "times_less"), ">=", 5),
    ]


def show(found: dict[str, Any]) -> list[str]:
    """Print measures side by side and the targets; the names of those that are missed."""
    columns = [name for name in SECTIONS if name not in CURVE[:2] and "measures" in found.get(name, {})]
    names = list(found[columns[0]]["measures"]) if columns else []
    print(f"\n{'measure':32}" + "".join(f"{name:>15}" for name in columns))
    for name in names:
        cells = [found[column]["measures"].get(name) for column in columns]
        print(f"{name:32}" + "".join(f"{'-' if cell is None else format(cell, '.4f'):>15}" for cell in cells))
    for row in [found[name] for name in CURVE if "measures" in found.get(name, {})]:
        steps = f"step {row['kept_steps']:6d} of {row['steps']:6d}"
        begin = f"default after {row['seconds']:6.0f} s, {steps}: {row['nats']:.4f} nats"
        shown = {name: row["measures"].get(name) for name in SHOWN}
        print(begin + "".join(f", {name} {value:.4f}" for name, value in shown.items() if value is not None))
    missed = []
    print(f"\n{'target':46}{'measured':>12}{'':>4}{'wanted':>12}")
    for what, measured, relation, wanted in targets(found):
        known = measured is not None and wanted is not None
        met = known and (measured <= wanted if relation == "<=" else measured >= wanted)  # type: ignore[operator]
        verdict = "not measured" if not known else "" if met else "MISSED"
        if known and not met:
            missed.append(what)
        print(f"{what:46}{_number(measured):>12}{relation:>4}{_number(wanted):>12}  {verdict}")
    return missed


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"
