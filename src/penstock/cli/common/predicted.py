"""The accuracy of predictions: ``profile --compare`` and ``--calibrate-from``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from penstock.cli.common.output import note, print_json, print_table
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.profile.prediction.compare import Comparison, compare
from penstock.profile.prediction.efficiency import EfficiencyTable
from penstock.profile.store import load_profile
from penstock.profile.table import Profile


def show_comparison(model: OnnxModel, folder: Path, table: EfficiencyTable, as_json: bool) -> None:
    """Print predicted against measured for every measured class of the profile in ``folder``."""
    profile = load_profile(folder)
    found = compare(profile, model, table)
    if as_json:
        print_json(
            {
                "model": profile.model,
                "efficiencies": table.source,
                "comparisons": [_told(one) for one in found],
            }
        )
        return
    for one in found:
        _print(profile, one)
    note(
        f"Predicted with {table.source}. Error: median over blocks and batches of abs(log(predicted / measured))."
    )


def _told(one: Comparison) -> dict[str, Any]:
    return {
        "device_class": one.device_class,
        "peaks_of": one.peaks_of,
        "share": one.share,
        "batches": list(one.batches),
        "error": one.error,
        "bias": one.bias,
        "measured_us": one.measured_us.tolist(),
        "predicted_us": one.predicted_us.tolist(),
    }


def _print(profile: Profile, one: Comparison) -> None:
    places = sorted({0, len(one.batches) - 1})
    columns = [
        f"{what} {one.batches[place]}" for place in places for what in ("measured", "predicted", "ratio")
    ]
    rows = [
        [
            name,
            *(
                cell
                for place in places
                for cell in (
                    f"{measured[place]:.0f}",
                    f"{predicted[place]:.0f}",
                    "-" if measured[place] <= 0 else f"{predicted[place] / measured[place]:.2f}",
                )
            ),
        ]
        for name, measured, predicted in zip(
            (*(block.name for block in profile.blocks), "all"),
            np.vstack([one.measured_us, one.measured_us.sum(axis=0)]),
            np.vstack([one.predicted_us, one.predicted_us.sum(axis=0)]),
            strict=True,
        )
    ]
    print_table(
        f"{profile.model} on {one.device_class}, share {one.share}: us by batch (peaks of {one.peaks_of}; error "
        f"{one.error:.3f}, whole {one.bias:.2f} times the measured)",
        ["block", *columns],
        rows,
    )
