"""Forecasts of the load, on many days: what they save if a rung holds its factor and costs in proportion.

    python benchmarks/forecasts.py [--traces FOLDER] [--safety 1.0] [--rungs 120] [--days DAY ...]

No plans are made and no requests simulated: what is above the factor of the rung that serves is lost, at the time when
the autoscaler of the server (decisions, late devices, loading) has it serve. So a row takes a second, not minutes;
``autoscale.py`` has whole plans and requests. Days are the recordings of an hour, stretched, as there: 15 s become six
minutes, 100 requests/s in the mean. The day before is, by row: the same with other arrivals; of the other half of the
requests (by a coin: it shares the hours, and not the chance of each 15 s); half an hour later; a third more or less
loaded. What is saved is set against the cheapest static fleet that attains as much on the same day.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from penstock.arrays import F64
from penstock.plan.autoscale.forecast import DAY_S, DayBefore, Forecast, KnownDay, LiveForecast
from penstock.plan.autoscale.rungs import Rung
from penstock.plan.autoscale.scaler import ScalingRules
from penstock.simulate.autoscaled.timeline import timeline
from penstock.traffic.load import load_trace

TRACES = {
    "Azure code": "azure_llm_2023/AzureLLMInferenceTrace_code.csv",
    "Azure conversation": "azure_llm_2023/AzureLLMInferenceTrace_conv.csv",
    "Mooncake": "mooncake/conversation_trace.jsonl",
}
RATE_RPS = 100.0
SHAPE_S = 15.0
EVERY_S = ScalingRules().every_s
ABOVE = 1.3
"""The highest rung holds so many times the highest load of the day."""


def day_of(shape: F64, seed: int) -> F64:
    """The measured factor of each window of a day whose expected load is ``shape``, stretched."""
    windows = np.arange(int(DAY_S / EVERY_S))
    expected = shape[(windows * len(shape) // len(windows))] / shape.mean()
    drawn: F64 = np.random.default_rng(seed).poisson(expected * RATE_RPS * EVERY_S) / (RATE_RPS * EVERY_S)
    return drawn


def pairs(times_s: F64 | None) -> Iterator[tuple[str, F64, F64]]:
    """(name of the day before, the day, the day before)."""
    if times_s is None:
        whole = 1.0 - 0.6 * np.cos(2 * np.pi * np.arange(240) / 240)
    else:
        edges = np.arange(0.0, times_s[-1] + SHAPE_S, SHAPE_S)
        whole = np.histogram(times_s, edges)[0].astype(float)
    day, before = day_of(whole, 0), day_of(whole, 1)
    yield "the same", day, before
    if times_s is not None:
        is_first = np.random.default_rng(2).random(len(times_s)) < 0.5
        first, second = (
            np.histogram(own, edges)[0].astype(float) for own in (times_s[is_first], times_s[~is_first])
        )
        yield "the other half", day_of(first, 0), day_of(second, 1)
    yield "30 minutes later", day, np.roll(before, round(1_800 / EVERY_S))
    yield "1.3 times the load", day, before * 1.3
    yield "0.7 times the load", day, before * 0.7


def attained(loads: F64, held: F64 | float) -> float:
    """The share of requests below what is held."""
    return 1.0 - float(np.maximum(loads - held, 0.0).sum() / loads.sum())


def static_for(loads: F64, target: float) -> float:
    """The least factor that attains ``target`` all day."""
    low, high = 0.0, float(loads.max())
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (low, middle) if attained(loads, middle) >= target else (middle, high)
    return high


def row(day: F64, forecast: Forecast, rules: ScalingRules, rungs: int) -> tuple[float, float, float, int]:
    """(mean factor paid for, attained, that of the static fleet, switches)."""
    top = float(day.max()) * ABOVE
    ladder = [Rung(top * n / rungs, {"device": n}, top * n / rungs) for n in range(1, rungs + 1)]
    line = timeline(ladder, {"device": top / rungs}, rules, forecast, day)
    held = np.zeros(len(day))
    for spell in line.spells:
        held[round(spell.begin_s / EVERY_S) : round(spell.end_s / EVERY_S)] = ladder[spell.rung].factor
    kept = attained(day, held)
    return line.cost / (DAY_S / 3_600), kept, static_for(day, kept), len(line.spells) - 1


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--traces", type=Path, default=Path("../shared/data/traces"))
    asked.add_argument("--safety", type=float, default=1.0)
    asked.add_argument("--rungs", type=int, default=120)
    asked.add_argument("--days", nargs="*", choices=["cosine", *TRACES], default=["cosine", *TRACES])
    options = asked.parse_args()
    rules = ScalingRules(safety=options.safety)
    print(
        f"{'day':<19}{'forecast':<10}{'day before':<20}{'paid':>6}{'static':>8}{'saved':>8}{'attained':>10}"
        f"{'switches':>9}"
    )
    for name in options.days:
        path = options.traces / TRACES.get(name, "")
        if not path.exists():
            print(f"{name:<19}skipped: {path} is not there")
            continue
        times_s = None if name == "cosine" else load_trace(path).time_us / 1e6
        for which, day, before in pairs(times_s):
            forecasts: dict[str, Forecast] = {"yesterday": DayBefore()}
            for window, load in enumerate(before.tolist(), 1):
                forecasts["yesterday"].observe(window * EVERY_S - DAY_S, load)
            if which in ("the same", "the other half"):
                forecasts = {
                    "live": LiveForecast(),
                    **forecasts,
                    "known": KnownDay(before, EVERY_S),
                }
            for kind, forecast in forecasts.items():
                paid, kept, static, switches = row(day, forecast, rules, options.rungs)
                of = "" if kind == "live" else which
                print(
                    f"{name:<19}{kind:<10}{of:<20}{paid:>6.3f}{static:>8.3f}{1 - paid / static:>8.1%}{kept:>10.3%}"
                    f"{switches:>9}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
