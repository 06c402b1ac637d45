"""Bounds on public graphs, beside figures from an independent computation."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.partition.bounds.anytime import lower_bounds
from penstock.partition.bounds.bottleneck import solve_bottleneck
from penstock.partition.bounds.closures import Closures
from penstock.partition.bounds.holding import holding_bound
from penstock.partition.bounds.programs.exact_segments import solve_exact
from penstock.partition.bounds.simple import average_block, simple_bound
from penstock.partition.bounds.superblocks import plain_windows, solve_superblocks, three_widths
from penstock.partition.formats.pipedream import read_pipedream
from penstock.partition.formats.placement import read_placement
from penstock.partition.problem import PartitionProblem

GRAPHS = Path(__file__).parents[3] / "shared" / "data" / "model-graphs"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not GRAPHS.exists(), reason="needs the reference data folder ../shared/data"),
]

# Milliseconds, four decimals: (file, k, optimum, average, bottleneck, three superblocks).
TABLE = {
    "bert24": ("LayerGraphs-bert24_inference", 6, 17.7899, 15.4010, 16.5250, 16.3090),
    "gnmt": ("LayerGraphs-gnmt_inference", 6, 32.9107, 30.4272, 31.3703, 32.9107),
    "resnet50": ("LayerGraphs-resnet50_inference", 6, 34.2229, 33.5750, 33.7067, 33.9557),
    "bert-3": ("OperatorGraphs-bert_l-3_inference", 3, 27.9186, 16.4509, 20.0130, 27.9186),
}
DECIMALS = 1e-4


def read(name: str) -> tuple[PartitionProblem, int, float]:
    """The problem, its k, and the optimum rounded up."""
    file, k, optimum, *_ = TABLE[name]
    return read_placement(GRAPHS / "placement" / f"{file}.json").problem, k, optimum + DECIMALS


@pytest.mark.parametrize("name", TABLE)
def test_bounds_are_those_of_the_table(name: str) -> None:
    problem, k, cutoff = read(name)
    _, _, _, average, bottleneck, three = TABLE[name]
    closures, windows = Closures.of(problem), plain_windows(problem, k, cutoff)
    assert average_block(problem, k) == pytest.approx(average, abs=DECIMALS)
    assert simple_bound(problem, k) <= cutoff
    tools = {"cutoff": cutoff, "closures": closures, "time_limit_s": 20.0}
    assert solve_bottleneck(problem, k, **tools).bound == pytest.approx(bottleneck, abs=2 * DECIMALS)
    best = max(
        solve_superblocks(problem, three_widths(k, b), windows=windows, **tools).bound
        for b in range(1, k + 1)
    )
    # Windows on the work make the program a little stronger than the plain one of the table.
    assert three - 2 * DECIMALS <= best <= three + 3 * DECIMALS


@pytest.mark.parametrize("name", TABLE)
def test_the_optimum_is_proven_at_the_number_of_blocks_shipped(name: str) -> None:
    problem, k, cutoff = read(name)
    exact = solve_exact(
        problem,
        k,
        cutoff=cutoff,
        closures=Closures.of(problem),
        windows=plain_windows(problem, k, cutoff),
        time_limit_s=20.0,
    )
    assert exact.ceiling == pytest.approx(TABLE[name][2], abs=DECIMALS)
    result = lower_bounds(problem, k, best_known=exact.ceiling, time_limit_s=20, workers=1)
    assert result.complete
    assert result.bound == pytest.approx(exact.ceiling, rel=3e-6)


def test_the_holding_bound_sees_large_tensors_that_averages_do_not() -> None:
    # At 100 Gb/s the first tensors of VGG-16 take 66 ms each to move; the total work is 252 ms.
    problem = read_pipedream(GRAPHS / "pipedream" / "vgg16.txt", 100.0).problem
    assert holding_bound(problem, lambda: False) == pytest.approx(120_253, rel=1e-4)
    assert average_block(problem, 16) < 16_000
