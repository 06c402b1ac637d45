"""What faults and overload cost a server under load: answers, wrong answers, errors, and how soon it is good again.

Each fault befalls a server of its own at 80% of the rate that is left after it (of the whole rate if nothing stays
away). Clients send at fixed times whatever happens (open loop), each request on a connection of its own, so that a
gateway's death costs its own requests only. Every answer is compared with what the model gives.

    python benchmarks/faults.py [--times N] [--only NAME ...] [--seconds S] [--minutes M]

A line a fault, over all its repetitions. ``--only overload``: 0.9, 1, 1.5 and 3 times the plan's rate. ``--only soak
--seconds 1800``: half an hour at 90%. Exit status 1 if a limit is broken.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from faults_parts.faults import FAULTS, limits_broken, trial
from faults_parts.overload import LEAST, overload
from faults_parts.soak import soak
from faults_parts.trial import BACK_S, GOOD, Trial

OTHERS = ("overload", "soak")
COLUMNS = f"{'fault':<20}{'runs':>5}{'sent':>7}{'200':>7}{'wrong':>6}{'lost':>6}  {'errors':<24}{'back s':>12}  limits"


def fault_line(name: str, trials: list[Trial], held: list[list[str]]) -> str:
    """All repetitions of one fault."""
    answers = [one for trial in trials for one in trial.answers]
    statuses = sum((trial.errors for trial in trials), Counter())
    errors = ", ".join(f"{count} x {status}" for status, count in sorted(statuses.items())) or "-"
    good = sum(one.status == 200 for one in answers)
    back = [trial.back_s for trial in trials]
    broken = Counter(text for texts in held for text in texts)
    verdict = "; ".join(f"{text} ({count} of {len(trials)})" for text, count in broken.items()) or "held"
    return (
        f"{name:<20}{len(trials):>5}{len(answers):>7}{good:>7}{sum(t.wrong for t in trials):>6}"
        f"{sum(t.lost for t in trials):>6}  {errors:<24}{statistics.median(back):>6.1f}{max(back):>6.1f}  {verdict}"
    )


def run_faults(names: list[str], times: int, seconds: float, scale: float, until_s: float) -> bool:
    """Whether all limits held. No run begins after ``until_s``."""
    print(f"{COLUMNS}\n(back: median and worst; limits: no wrong answer, nothing lost but a gateway's own "
          f"connections, {GOOD:.0%} again within {BACK_S:g} s)")  # fmt: skip
    holds = True
    for name in names:
        trials: list[Trial] = []
        while len(trials) < times and time.monotonic() < until_s:
            trials.append(trial(FAULTS[name], seconds, scale))
        if not trials:
            print(f"{name:<20} not run: the time was over")
            continue
        broken = [limits_broken(FAULTS[name], one) for one in trials]
        holds &= not any(broken)
        print(fault_line(name, trials, broken), flush=True)
    return holds


def run_overload(times: int, seconds: float, scale: float, until_s: float) -> bool:
    """Whether the goodput stays flat in each repetition."""
    holds = True
    for _ in range(times):
        if time.monotonic() >= until_s:
            break
        one = overload(seconds, scale)
        rates = ", ".join(f"{load:g} x: {rate:.1f}/s" for load, rate in one.goodput_rps.items())
        verdict = "; ".join(one.broken) or "held"
        print(
            f"overload: goodput at {rates}; least {one.least:.1%} of peak (at least {LEAST:.0%}): {verdict}"
        )
        holds &= not one.broken
    return holds


def run_soak(seconds: float) -> bool:
    """Whether nothing grows."""
    one = soak(seconds)
    for growth in one.growths:
        slope, error = growth.slope_mb_per_hour
        print(
            f"{growth.name:<20}{growth.memory[-1] / 1e6:>8.1f} MB {slope:>+8.1f} +- {error:.1f} MB/h  "
            f"descriptors {growth.descriptors[0]} to {growth.descriptors[-1]}"
        )
    good = sum(a.status == 200 for a in one.answers)
    print(
        f"soak of {seconds:g} s: {good} of {len(one.answers)} answered 200: {'; '.join(one.broken) or 'held'}"
    )
    return not one.broken


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--only", action="append", choices=[*FAULTS, *OTHERS])
    parser.add_argument("--seconds", type=float, default=8.0, help="Of load, for each run.")
    parser.add_argument("--minutes", type=float, default=1e9, help="No run begins after this time.")
    parser.add_argument("--scale", type=float, default=1.0, help="Factor on every load, for a busy machine.")
    given = parser.parse_args()
    until_s = time.monotonic() + 60 * given.minutes
    names = [name for name in given.only or [*FAULTS, "overload"] if name in FAULTS]
    holds = True
    if names:
        holds &= run_faults(names, given.times, given.seconds, given.scale, until_s)
    if not given.only or "overload" in given.only:
        holds &= run_overload(given.times, given.seconds, given.scale, until_s)
    if given.only and "soak" in given.only:
        holds &= run_soak(given.seconds)
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
