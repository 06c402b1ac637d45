"""How long `penstock VERB --help` takes, in CPU time of its process, beside the goal of 0.4 s.

Wall time on a shared machine says little, so it is only printed. Each verb is run several times; the least counts.
"""

import resource
import subprocess
import sys
import time

from penstock.cli.main import VERBS

GOAL_S = 0.4
RUNS = 3


def measure(arguments: list[str]) -> tuple[float, float]:
    """CPU and wall seconds of the fastest run."""
    found = []
    for _ in range(RUNS):
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        command = [sys.executable, "-c", "from penstock.cli.main import main; main()", *arguments, "--help"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        found.append((cpu, time.perf_counter() - began))
    return min(found)


def main() -> None:
    print(f"{'verb':12} {'CPU s':>7} {'wall s':>7}   goal {GOAL_S} s")
    worst = 0.0
    for verb in ["", *VERBS]:
        cpu, wall = measure(verb.split())
        worst = max(worst, cpu)
        print(
            f"{verb or '(overview)':12} {cpu:7.2f} {wall:7.2f}   {'' if cpu < GOAL_S else 'above the goal'}"
        )
    print(f"slowest: {worst:.2f} s of CPU time")


if __name__ == "__main__":
    main()
