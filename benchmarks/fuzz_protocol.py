"""Feed the parsers of the protocol with messages that are almost right.

Each must give a request, or a refusal of 400 or 413.

    python benchmarks/fuzz_protocol.py [--count 1000000] [--seed 1]

It ends with status 1, and the message, at the first other outcome.
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from protocol_fuzz import Fuzz

STEP = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    fuzz = Fuzz(options.seed)
    start = time.process_time()
    for _ in range(0, options.count, STEP):
        fuzz.run(min(STEP, options.count))
    seconds = time.process_time() - start
    for (name, outcome), count in sorted(fuzz.counts.items(), key=str):
        print(f"{name:>5} {outcome!s:>8} {count:>9,}")
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{sum(fuzz.counts.values()):,} messages in {seconds:.0f} s of CPU time; {peak_mib:.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
