"""Pre-partitioning of the 28 models of the PPipe artifact: our optimum beside the cost of its mappings.

    python benchmarks/prepartition.py [ARTIFACT]

ARTIFACT defaults to ``../shared/data/ppipe-artifact``. Exit status 1 where a cost differs, or the whole
takes more than 10 s. The artifact merged the last two of ten blocks of five detectors afterwards: for them
the last boundary does not count.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from penstock.partition.prepartition import prepartition
from penstock.ppipe.profiles import read_operator_costs, read_profiles

BLOCKS = 10
LIMIT_S = 10.0


def main() -> int:
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "ppipe-artifact"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if not folder.is_dir():
        print(f"{folder}: no such folder. Name the folder of a PPipe artifact; nothing was measured.")
        return 0
    profiles = read_profiles(folder)
    total_s, differing = 0.0, 0
    print(
        f"{'model':50}{'operators':>9}{'level':>9}{'ours MB':>12}{'theirs MB':>12}{'blocks':>7}{'seconds':>9}"
    )
    for name, profile in profiles.items():
        latency_us, boundary_bytes = read_operator_costs(folder, name)
        start = time.perf_counter()
        result = prepartition(latency_us, boundary_bytes, BLOCKS)
        seconds = time.perf_counter() - start
        total_s += seconds
        # Count as many boundaries as the mapping has: one less where it merged the last two blocks.
        inner = boundary_bytes[list(result.solution[1 : len(profile.blocks)])]
        ours, theirs = int(inner.sum()), sum(profile.boundary_bytes[1:-1])
        differing += ours != theirs
        print(
            f"{name:50}{len(boundary_bytes) - 1:9}{result.stats['level']:>9}{ours / 1e6:12.3f}"
            f"{theirs / 1e6:12.3f}{len(profile.blocks):7}{seconds:9.4f}{' DIFFERS' * (ours != theirs)}"
        )
    print(f"{len(profiles)} models in {total_s:.2f} s (compilation included), {differing} costs differ")
    return int(differing > 0 or total_s > LIMIT_S)


if __name__ == "__main__":
    sys.exit(main())
