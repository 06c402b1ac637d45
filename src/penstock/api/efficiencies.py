"""The efficiencies of predictions: the default table, or one calibrated from measured profiles."""

from __future__ import annotations

from pathlib import Path

from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.profile.prediction.calibrate import calibrate
from penstock.profile.prediction.compare import calibration_data
from penstock.profile.prediction.device_catalogue import DeviceSpec
from penstock.profile.prediction.efficiency import DEFAULT_TABLE, EfficiencyTable
from penstock.profile.prediction.predict import guesses
from penstock.profile.store import load_profile
from penstock.progress import tell


def efficiency_table(folders: tuple[Path, ...]) -> EfficiencyTable:
    """The default table, or one calibrated from the profiles in ``folders``. A note says how much better it is."""
    if not folders:
        return DEFAULT_TABLE
    data = calibration_data({folder: load_profile(folder) for folder in folders})
    classes = ", ".join(sorted({one.spec.name for one in data}))
    found = calibrate(data, f"calibrated on {classes} from {', '.join(folder.name for folder in folders)}")
    tell(
        f"Calibrated on {classes}: median error {found.error_before:.3f} before, {found.error_after:.3f} after "
        f"(abs of log of predicted / measured, on the same profiles)."
    )
    return found.table


def tell_guesses(model: OnnxModel, specs: list[DeviceSpec], table: EfficiencyTable) -> None:
    """Say for which operators there is no rule, and how much of the predicted time they are."""
    for spec in specs:
        found = guesses(model.graph, spec, table)
        if found.kinds:
            tell(
                f"{spec.name}: no rule for {', '.join(found.kinds)}, {found.share_of_time:.1%} of the time: guessed "
                f"as elementwise."
            )
