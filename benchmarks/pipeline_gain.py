"""Where pipelines help: the rate of the best plan over that of the best whole-model plan, by SLO and device ratio.

ResNet-50 as predicted for an L4, and a slow class made of it: in one table every block is slower by the same ratio, in
the other the blocks differ as they do between L4 and T4 in the prediction. Both planners prove their plans to 1e-3.

    python benchmarks/pipeline_gain.py [--figure FILE.svg]
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

import penstock
from penstock.arrays import F64
from penstock.plan.documents.scenario import Scenario
from penstock.profile.emulate import derive_slower
from penstock.profile.store import load_profile
from penstock.profile.table import Profile
from penstock.zoo import build

FAST, SLOW = 4, 8
BLOCKS, MOST_BATCH = 10, 8
RATIOS = (1.5, 2.0, 3.0, 4.0, 6.0)
SLOS = (2.0, 3.0, 4.0, 6.0, 10.0, 20.0)
"""In times of the whole model on the fast class at batch 1. The usual margin of 40% is taken from each."""

Gains = list[list[float]]


@dataclass(frozen=True)
class Blocks:
    """A profile with a fast class, and how much slower each block is on another, relative to the mean."""

    name: str
    profile: Profile
    pattern: F64

    def slower_by(self, ratio: float) -> Profile:
        """The profile with the class ``slow``, on which the whole model takes ``ratio`` times as long at batch 1."""
        times = self.profile.table("L4", 1).latency_us[:, 0]
        factors = self.pattern * (ratio * times.sum() / (self.pattern * times).sum())
        return derive_slower(self.profile, "L4", "slow", factors, "for a map")


def predicted() -> Profile:
    """ResNet-50 on L4 and T4, by the roofline."""
    with TemporaryDirectory() as folder:
        model = Path(folder) / "resnet50.onnx"
        model.write_bytes(build("resnet50").SerializeToString())
        penstock.profile_model(
            model, Path(folder) / "p", predict=["L4", "T4"], blocks=BLOCKS, max_batch=MOST_BATCH
        )
        return load_profile(Path(folder) / "p")


def rate(profile: Profile, slo_us: int, planner: str) -> float:
    """What ``planner`` gets from the fleet; 0 if it has no plan."""
    scenario = Scenario.model_validate(
        {
            "version": 1,
            "cluster": {
                "bandwidth_gbps": 25,
                "device_classes": {"L4": {"count": FAST}, "slow": {"count": SLOW}},
            },
            "models": [{"name": "resnet50", "profile": "p", "slo_us": slo_us}],
        }
    )
    try:
        return penstock.Study(scenario, {"resnet50": profile}).plan(planner=planner).objective
    except penstock.InfeasibleError:
        return 0.0


def gains(blocks: Blocks) -> Gains:
    """Rows by ratio, columns by SLO: pipelines over whole models; infinite if only pipelines have a plan."""
    fast_us = blocks.profile.table("L4", 1).latency_us[:, 0].sum()
    rows = []
    for ratio in RATIOS:
        profile = blocks.slower_by(ratio)
        row = []
        for slo in SLOS:
            whole, best = (rate(profile, int(slo * fast_us), planner) for planner in ("np", "penstock"))
            row.append(best / whole if whole else float("inf" if best else "nan"))
        rows.append(row)
    return rows


def print_table(name: str, rows: Gains) -> None:
    """A Markdown table."""
    print(f"\n{name}\n\n| slow / fast | {' | '.join(f'SLO {slo:g}' for slo in SLOS)} |")
    print("|---" * (len(SLOS) + 1) + "|")
    for ratio, row in zip(RATIOS, rows, strict=True):
        print(f"| {ratio:g} | {' | '.join(f'{gain:.2f}' for gain in row)} |")


def draw(tables: Sequence[tuple[str, Gains]], path: Path) -> None:
    """The tables as heat maps with their numbers."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "penstock"
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    most = max(np.nanmax(rows) for _, rows in tables)
    for place, (name, rows) in enumerate(tables, 1):
        axes = figure.add_subplot(1, len(tables), place)
        axes.imshow(rows, cmap="Blues", vmin=0.9, vmax=most, aspect="auto")
        for y, row in enumerate(rows):
            for x, gain in enumerate(row):
                colour = "white" if gain > 0.85 * most else "black"
                axes.text(x, y, f"{gain:.2f}", ha="center", va="center", color=colour)
        axes.set_xticks(range(len(SLOS)), [f"{slo:g}" for slo in SLOS])
        axes.set_yticks(range(len(RATIOS)), [f"{ratio:g}" for ratio in RATIOS])
        axes.set_xlabel("SLO / time of the model on the fast class")
        axes.set_ylabel("slow / fast")
        axes.set_title(name, fontsize=10)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Print the tables, and draw them if a file is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    profile = predicted()
    fast, slow = (profile.table(name, 1).latency_us[:, 0] for name in ("L4", "T4"))
    pattern = slow / fast / (slow.sum() / fast.sum())
    print(f"Blocks on T4 over L4, relative to the model: {pattern.min():.2f} to {pattern.max():.2f}.")
    print(
        f"{FAST} fast and {SLOW} slow devices; rate of the best plan over that of the best whole-model plan."
    )
    tables = []
    for name, of_blocks in (
        ("Every block slower by the same ratio", np.ones(BLOCKS)),
        ("Blocks differ as between L4 and T4", pattern),
    ):
        tables.append((name, gains(Blocks(name, profile, of_blocks))))
        print_table(*tables[-1])
    if arguments.figure is not None:
        draw(tables, arguments.figure)


if __name__ == "__main__":
    main()
