"""One device, many models: the figures of ``docs/device.md``, each beside what it is compared with.

Published rows of a GV100 and a T4 are predicted (reference data at ``../shared/data/device`` from the
repository's root, or the folder named by ``--data``; without it those parts are left out and said to be). The
rest needs a CPU only. Ends with status 1 if a claim does not hold.

    python benchmarks/device.py [--data FOLDER] [--only published,deadlines,...] [--quick]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from device_parts.deadlines import run_deadlines
from device_parts.decision_cost import run_cost
from device_parts.fairness import run_fairness, run_overheads
from device_parts.on_cpu import run_on_cpu
from device_parts.published import run_published
from device_parts.worked_example import run_example, run_plan

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "device"
PARTS = ("published", "deadlines", "fairness", "overheads", "example", "plan", "cpu", "cost")


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", type=Path, default=DATA)
    arguments.add_argument("--only", default=",".join(PARTS), help=f"any of {', '.join(PARTS)}")
    arguments.add_argument("--quick", action="store_true", help="fewer jobs and seeds, to see that it runs")
    given = arguments.parse_args()
    chosen = given.only.split(",")
    if unknown := set(chosen) - set(PARTS):
        arguments.error(f"--only: {', '.join(sorted(unknown))} must be among {', '.join(PARTS)}")
    jobs, seeds = (500, 2) if given.quick else (4000, 4)
    parts = {
        "published": lambda: _published(given.data),
        "deadlines": lambda: run_deadlines(jobs, seeds),
        "fairness": lambda: run_fairness(jobs),
        "overheads": lambda: run_overheads(jobs),
        "example": lambda: run_example(2 * jobs, seeds),
        "plan": run_plan,
        "cpu": lambda: run_on_cpu(500 if given.quick else 3000, 3 if given.quick else 10),
        "cost": run_cost,
    }
    failed = [f"{name}: {what}" for name in PARTS if name in chosen for what in parts[name]()]
    print(f"\n{len(failed)} claims do not hold" + "".join(f"\n  {one}" for one in failed))
    sys.exit(bool(failed))


def _published(folder: Path) -> list[str]:
    if not folder.is_dir():
        print(f"{folder}: no reference data, the published rows are left out.")
        return []
    return run_published(folder)


if __name__ == "__main__":
    main()
