"""Partitions of public graphs beside their proven bounds.

    python benchmarks/partition.py [--seconds S] [--bandwidth-gbps G] [--only NAME] [-k K ...] [FOLDER]

FOLDER defaults to ``../shared/data/model-graphs``: ``placement`` at the k each file asks for, and both kinds for k
in 2, 4, 8, 16, 32, 64. Every bound is given as a share of the best partition found; a share of 1 is a proof of
optimality. ``-k`` chooses other numbers of stages. Exit status 1 where a known optimum is missed, a bound passes its
partition, and, if every graph and k ran, where the geometric mean is under the aim.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from penstock.partition.bounds.simple import average_block
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.formats.read import read_graph
from penstock.partition.partition import Partition, partition
from penstock.result import Result

STAGES = (2, 4, 8, 16, 32, 64)
AIM = 0.995
"""The geometric mean of bound / best partition over all graphs and k."""

METHODS = ("holding", "chains", "levels", "relaxed", "bottleneck", "superblocks", "exact", "separation")
"""In the order in which they run; see :mod:`penstock.partition.bounds.anytime`."""

KNOWN = {
    "LayerGraphs-bert24_inference": 17.7899,
    "LayerGraphs-gnmt_inference": 32.9107,
    "LayerGraphs-resnet50_inference": 34.2229,
    "OperatorGraphs-bert_l-3_inference": 27.9186,
}
"""Optima without the CPU at the k that each file asks for."""

PUBLISHED = (
    "Archer et al., ICML 2024 (369 production graphs, k = 16, other graphs than these): "
    "geometric means simple 0.4598, best bound 0.9452"
)


def main() -> int:
    arguments = _arguments()
    if not arguments.folder.is_dir():
        print(f"{arguments.folder}: no such folder. Name the folder of graphs; nothing was measured.")
        return 0
    shares: dict[str, list[float]] = defaultdict(list)
    faults = 0
    print(
        f"{'graph':36}{'n':>5}{'k':>4}{'best':>14}{'simple':>9}{'bound':>9}  {'by':14}{'found by':28}{'s':>6}"
    )
    for name, source, k in _cases(arguments):
        result = partition(source.problem, k, time_limit_s=arguments.seconds)
        simple = max(average_block(source.problem, k), source.problem.work.max()) / result.objective
        best = result.bound / result.objective
        shares["simple"].append(simple)
        shares["best bound"].append(best)
        for method in METHODS:
            # Chains and separation prove a target or nothing at all.
            if (bound := float(result.stats.get(f"bound_{method}", 0.0))) > 0:
                shares[method].append(bound / result.objective)
        wrong = k == source.shipped_k and abs(result.objective - KNOWN.get(name, result.objective)) > 1e-4
        faults += wrong or best > 1
        print(
            f"{name:36}{source.problem.n_operators:5}{k:4}{result.objective:14.6g}{simple:9.4f}{best:9.4f}  "
            f"{result.stats['bound_by']:14}{result.stats['found_by']:28}{result.stats['seconds']:6.1f}"
            f"{_by_method(result)}{' WRONG' * wrong}",
            flush=True,
        )
    for method, values in shares.items():
        mean = math.exp(sum(math.log(value) for value in values) / len(values))
        aim = f" (aim {AIM})" if method == "best bound" else ""
        print(
            f"geometric mean over {len(values)} cases, {method}: {mean:.4f}{aim}; "
            f"{sum(v > 1 - 1e-5 for v in values)} tight"
        )
        is_whole = not arguments.only and arguments.k is None
        faults += method == "best bound" and is_whole and mean < AIM
    print(PUBLISHED)
    return int(faults > 0)


def _by_method(result: Result[Partition]) -> str:
    """What each method that had to run gave; the bounds stop as soon as one suffices."""
    found = ((method, float(result.stats.get(f"bound_{method}", 0.0))) for method in METHODS)
    return "".join(f"  {method} {bound / result.objective:.4f}" for method, bound in found if bound > 0)


def _arguments() -> argparse.Namespace:
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "model-graphs"
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=default)
    parser.add_argument("--seconds", type=float, default=20.0, help="time limit a graph and k")
    parser.add_argument(
        "--bandwidth-gbps", type=float, default=128.0, help="PCIe 3.0 x16, of pipedream graphs"
    )
    parser.add_argument("--only", default="", help="graphs whose name holds this")
    parser.add_argument("-k", type=int, action="append", help=f"stages (repeatable) [default: {STAGES}]")
    return parser.parse_args()


def _cases(arguments: argparse.Namespace) -> Iterator[tuple[str, GraphFile, int]]:
    for path in sorted(
        [*arguments.folder.glob("placement/*.json"), *arguments.folder.glob("pipedream/*.txt")]
    ):
        if arguments.only not in path.stem:
            continue
        source = read_graph(path, bandwidth_gbps=arguments.bandwidth_gbps)
        wanted = {k for k in arguments.k or STAGES if k <= source.problem.n_operators}
        if arguments.k is None and source.shipped_k is not None:
            wanted.add(source.shipped_k)
        for k in sorted(wanted):
            yield path.stem, source, k


if __name__ == "__main__":
    sys.exit(main())
