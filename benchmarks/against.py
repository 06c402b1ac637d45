"""This checkout against another one, in turn: the ratio of their processor times for the same short cases.

Two processes stay up, one for each checkout, each with the interpreter of its ``.venv``. They run a case alternately,
and the ratio of two neighbouring runs counts. So what else the machine does meanwhile slows both sides alike. The place
of a process in memory changes the speed of a loop by up to a fifth, so several fresh pairs of processes are measured.
Printed are the median of the pairs' medians, the least and the greatest of them, and what is asked for. Both sides say
what work they did (batches, dispatches, the objective, the load factor held): if it differs, a ratio of times says
little.

The other checkout needs a ``.venv`` with its own package, for example:

    git worktree add ../base COMMIT && cd ../base && make .venv/.installed
    python benchmarks/against.py ../base [--cases simulate/reservation decisions] [--pairs 5] [--turns 30]

Cases of ``plan`` and ``goodput`` need the reference data at ``../shared/data/ppipe-artifact`` from the repository's
root.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
DATA = HERE.parents[1] / "shared" / "data" / "ppipe-artifact"
MOST_RATIO = 1.03
LOADS = ("0.5", "0.9", "1.1")
CASES = (
    *(f"simulate/reservation/{noise}/{load}" for noise in ("exact", "noise") for load in LOADS),
    *(f"simulate/reactive/noise/{load}" for load in LOADS),
    *(f"simulate/penstock/{noise}/0.9" for noise in ("exact", "noise")),
    *(f"lent/{load}" for load in LOADS),
    *(f"published/{policy}/{load}" for policy in ("reservation", "reactive") for load in LOADS),
    *(f"decisions/{policy}/{workers}" for policy in ("reservation", "edf") for workers in (100, 10_000)),
    *(
        f"goodput/{policy}/{arrivals}/{index}"
        for policy in ("reservation", "penstock")
        for arrivals in ("poisson", "gamma:cv=4")
        for index in (0, 5, 10, 15)
    ),
    *(f"plan/penstock/{index}" for index in range(26)),
    *(f"plan/{planner}/{index}" for planner in ("np", "dart-r") for index in range(10, 26, 3)),
)
LONG = ("plan/", "goodput/")
"""Cases that take seconds, and need the reference data: fewer turns."""


class Side:
    """A process that runs cases of one checkout."""

    def __init__(self, checkout: Path) -> None:
        self._checkout = checkout
        python = checkout / ".venv" / "bin" / "python"
        self._process = subprocess.Popen(
            [python, HERE / "against_parts" / "side.py", checkout, DATA],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, case: str) -> tuple[float, float] | None:
        """Processor seconds of one run, and what work was done; None if the checkout does not have the case."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"{case}: the process of {self._checkout} ended; its message is above.")
        found = json.loads(answer)
        return None if found is None else (found["seconds"], found["work"])

    def close(self) -> None:
        self._process.communicate()


def ratios_of_pair(base: Side, ours: Side, case: str, turns: int) -> list[float]:
    """Ours over base for each turn."""
    ratios = []
    for turn in range(turns):
        # Who goes first changes, so that neither always runs on what the other left in the caches.
        pair = (ours, base) if turn % 2 else (base, ours)
        seconds = {side: found[0] for side in pair if (found := side.run(case)) is not None}
        ratios.append(seconds[ours] / seconds[base])
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("base", type=Path, nargs="?", help="the other checkout")
    parser.add_argument("--cases", nargs="*", default=[""], help="how their names begin; all by default")
    parser.add_argument("--pairs", type=int, default=5, help="fresh pairs of processes")
    parser.add_argument("--turns", type=int, default=30, help="runs of a case on each side of a pair")
    given = parser.parse_args()
    if given.base is None:
        print("No other checkout is named, so there is nothing to compare with.")
        return
    chosen = [case for case in CASES if case.startswith(tuple(given.cases))]
    if not DATA.is_dir():
        chosen = [case for case in chosen if not case.startswith(LONG)]
        print(f"{DATA}: no reference data, cases of plan and goodput are left out.")
    medians: dict[str, list[float]] = {case: [] for case in chosen}
    work: dict[str, tuple[float, float]] = {}
    for _ in range(given.pairs):
        base, ours = Side(given.base.resolve()), Side(HERE.parent)
        for case in chosen:
            # The first run of each compiles, loads and says what work is done.
            begun = base.run(case), ours.run(case)
            if begun[0] is None or begun[1] is None:
                continue
            work[case] = begun[0][1], begun[1][1]
            turns = max(2, given.turns // 10) if case.startswith(LONG) else given.turns
            medians[case].append(statistics.median(ratios_of_pair(base, ours, case, turns)))
        for side in (base, ours):
            side.close()
    report(medians, work)


def report(medians: dict[str, list[float]], work: dict[str, tuple[float, float]]) -> None:
    """A line for each case, and the geometric mean of each kind."""
    print(f"{'case':36}{'ratio':>8}{'least':>8}{'most':>8}   asked: at most {MOST_RATIO}")
    for case in [case for case, found in medians.items() if not found]:
        print(f"{case:36}one of the checkouts does not have it")
        del medians[case]
    for case, found in medians.items():
        middle = statistics.median(found)
        verdict = "holds" if middle <= MOST_RATIO else "MISSED"
        base_work, our_work = work[case]
        differs = "" if base_work == our_work else f"   other work: {base_work:g}, here {our_work:g}"
        print(f"{case:36}{middle:8.3f}{min(found):8.3f}{max(found):8.3f}   {verdict}{differs}")
    for kind in dict.fromkeys(case.partition("/")[0] for case in medians):
        same = [statistics.median(found) for case, found in medians.items() if case.startswith(f"{kind}/")]
        print(f"{kind}: geometric mean {statistics.geometric_mean(same):.3f} over {len(same)} cases")


if __name__ == "__main__":
    sys.exit(main())
