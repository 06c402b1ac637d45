"""A plan of a hundred devices in real time, beside the simulator: attainment, goodput, and the dispatcher's share.

    python benchmarks/real_time.py [--artifact FOLDER] [--scenario WORDS ...] [--load 0.9] [--seconds 60]

Plans are those of the published artifact, Poisson arrivals at ``--load`` times the plan's rate, the policy is the
default one. The dispatcher is the server's own process; all workers are emulated in one process, and the gateway runs
in this one, without HTTP (``real_time_parts/run.py`` says why). Two cores without other work are needed. Exit status 1
if a limit is broken.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from penstock.ppipe.plans import read_plans
from penstock.ppipe.profiles import read_profiles
from penstock.traffic.arrivals import draw_arrivals
from penstock.traffic.spec import parse_arrivals
from penstock.units import us_from_seconds
from real_time_parts.run import Figures, served, simulated, small_spec

WARM_SHARE = 0.1
MOST_POINTS = 2.0
"""Of attainment, between served and simulated."""
MOST_GOODPUT = 0.03
MOST_CORES = 0.6
"""Of the dispatcher."""
DEFAULT = ("efficientnet", "L4-P4")


def limits_broken(real: Figures, model: Figures) -> list[str]:
    """What is not as the simulator says, or takes too much."""
    found = []
    if abs(points := 100 * (real.attainment - model.attainment)) > MOST_POINTS:
        found.append(f"attainment differs by {points:+.1f} points")
    if abs(share := real.goodput_rps / model.goodput_rps - 1) > MOST_GOODPUT:
        found.append(f"goodput differs by {share:+.1%}")
    if real.cores["dispatcher"] > MOST_CORES:
        found.append(f"the dispatcher takes {real.cores['dispatcher']:.0%} of a core")
    return found


def row(name: str, one: Figures) -> str:
    """A line of the table."""
    missed = ", ".join(f"{count} {text}" for text, count in one.outcomes.items() if text != "met") or "-"
    return (
        f"  {name:<10}{one.requests:>8}{one.attainment:>9.2%}{one.goodput_rps:>10.1f}{one.p50_ms:>9.2f}"
        f"{one.p99_ms:>9.2f}  {missed}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--artifact", type=Path, default=Path("../shared/data/ppipe-artifact"))
    parser.add_argument("--scenario", nargs="+", default=DEFAULT, help="Words in the plan's name.")
    parser.add_argument("--load", type=float, default=0.9)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    profiles = read_profiles(given.artifact)
    plans = read_plans(given.artifact, profiles).plans
    chosen = [
        name
        for name in plans
        if name.endswith("-ppipe") and name.startswith("maf19-") and all(word in name for word in given.scenario)
    ]  # fmt: skip
    if not chosen:
        parser.error(f"no plan of the artifact has {' and '.join(given.scenario)} in its name")
    plan = plans[chosen[0]]
    with tempfile.TemporaryDirectory() as folder:
        spec, table = small_spec(plan, {m.name: profiles[m.name] for m in plan.models}, Path(folder))
    rates = [given.load * model.rate_rps for model in plan.models]
    process = parse_arrivals("poisson")
    arrivals = draw_arrivals(process, rates, given.seconds, np.random.default_rng(given.seed))
    stop_us = us_from_seconds(given.seconds)
    warm_us = int(stop_us * WARM_SHARE)
    model = simulated(table, spec, arrivals, warm_us, stop_us)
    real = served(spec, arrivals, warm_us, stop_us)
    print(f"{chosen[0]}\n{table.n_workers} workers, {sum(rates):.0f} requests/s for {given.seconds:g} s")
    print(f"  {'':<10}{'requests':>8}{'attained':>9}{'goodput/s':>10}{'p50 ms':>9}{'p99 ms':>9}  missed")
    print(row("simulated", model))
    print(row("served", real))
    cores = ", ".join(f"{name} {share:.0%}" for name, share in real.cores.items())
    print(f"  cores: {cores}; p99 of how late requests were sent: {real.lag_p99_ms:.2f} ms")
    broken = limits_broken(real, model)
    print(f"  {'; '.join(broken) or 'held'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
