"""What the server adds to a request, and ResNet-18 beside other servers.

    python benchmarks/serve.py                      # overhead
    python benchmarks/serve.py --peers              # and ResNet-18, with each peer that can be installed
    python benchmarks/serve.py --peers --only ray   # one of them

Overhead: a model that takes a microsecond, against a bare echo of the same HTTP server, for two sizes of body, in
rounds that take turns; the least of the rounds counts. With others on the machine, wall times say little: look at the
differences. ResNet-18: all servers are up and take turns too; medians of the rounds.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))

from serve_parts import overhead, resnet

FAULT_MS = 20.0
"""A median overhead above this is a fault, on whatever machine."""


def show(title: str, rows: list[dict[str, object]]) -> None:
    print(f"\n{title}")
    columns = list(dict.fromkeys(key for row in rows for key in row))
    table = [columns, *([_cell(row.get(column, "")) for column in columns] for row in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(columns))]
    for line in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def _cell(value: object) -> str:
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", action="store_true", help="ResNet-18, ours and others")
    parser.add_argument("--only", action="append", default=[], help="peers whose name has this")
    parser.add_argument("--environments", type=Path, default=Path(tempfile.gettempdir()) / "penstock-peers")
    parser.add_argument("--no-overhead", action="store_true", help="leave the first part out")
    asked = parser.parse_args()
    rows = [] if asked.no_overhead else overhead.measure(asked.seconds, asked.rounds)
    if rows:
        show("Overhead of a model that takes a microsecond", rows)
    for row in rows:
        added = row["added ms"]
        assert isinstance(added, float)
        assert added < FAULT_MS, f"the server adds {added:.1f} ms to a request of {row['body']}"
    if asked.peers:
        asked.environments.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            peers = resnet.measure(Path(folder), asked.environments, asked.only, asked.seconds, asked.rounds)
        show("ResNet-18, one worker with one thread; concurrency 1 unless said otherwise", peers)


if __name__ == "__main__":
    main()
