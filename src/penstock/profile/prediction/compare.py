"""Predicted against measured, block by block, and the measurements that a calibration starts from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.profile.build import boundaries_of
from penstock.profile.prediction.calibrate import Measured
from penstock.profile.prediction.device_catalogue import CATALOGUE, CPU_CORE, DeviceSpec
from penstock.profile.prediction.efficiency import DEFAULT_TABLE, EfficiencyTable
from penstock.profile.prediction.predict import predict
from penstock.profile.table import Profile


@dataclass(frozen=True)
class Comparison:
    """One measured table beside what the roofline predicts for ``peaks_of``; arrays of shape (blocks, batches).

    ``batches``: those that were measured, ascending; a batch that the profile fills in says nothing of a prediction.
    """

    device_class: str
    peaks_of: str
    share: int
    batches: tuple[int, ...]
    measured_us: F64
    predicted_us: F64

    @property
    def ratio(self) -> F64:
        """Predicted over measured; nan if nothing was measured."""
        measured = np.where(self.measured_us > 0, self.measured_us, np.nan)
        found: F64 = self.predicted_us / measured
        return found

    @property
    def error(self) -> float:
        """The median over blocks and batches of abs(log(predicted / measured)): 0.1 is some 10% off."""
        return float(np.nanmedian(np.abs(np.log(np.maximum(self.ratio, 1e-6)))))

    @property
    def bias(self) -> float:
        """The factor by which the sum of all blocks is predicted too long, over all batches (geometric mean)."""
        total = self.predicted_us.sum(axis=0) / np.maximum(self.measured_us.sum(axis=0), 1.0)
        return float(np.exp(np.mean(np.log(total))))


def compare(profile: Profile, model: OnnxModel, table: EfficiencyTable = DEFAULT_TABLE) -> list[Comparison]:
    """A comparison for each table of ``profile`` that was not itself predicted and whose class has known peaks.

    Raises :class:`BadInputError` if ``model`` is not the profile's, or none of its classes has known peaks.
    """
    check_same_model(profile, model)
    boundaries = boundaries_of(profile, len(model.graph.operators))
    found = [
        _compare(profile, one, table) for one in measured_tables(profile, model.graph, boundaries).items()
    ]
    if not found:
        raise BadInputError(
            f"profile of {profile.model}: none of its classes ({', '.join(profile.device_classes)}) is measured and "
            f"in the catalogue ({', '.join(CATALOGUE)}). Measure on one of those, with --device-class so named."
        )
    return found


def _compare(profile: Profile, one: tuple[tuple[str, int], Measured], table: EfficiencyTable) -> Comparison:
    (name, share), measured = one
    most = measured.table.max_batch
    made = predict(measured.graph, measured.boundaries, [measured.spec], most, [share], table)
    predicted = made[measured.spec.name, share].latency_us
    batches = measured.table.batches
    columns = np.array(batches) - 1
    return Comparison(
        device_class=name,
        peaks_of=measured.spec.name,
        share=share,
        batches=batches,
        measured_us=measured.table.computing_us[:, columns].astype(np.float64),
        predicted_us=predicted[:, columns].astype(np.float64),
    )


def measured_tables(
    profile: Profile, graph: ModelGraph, boundaries: Sequence[int]
) -> dict[tuple[str, int], Measured]:
    """The tables of ``profile`` that can be compared, by (device class, share)."""
    return {
        (name, share): Measured(graph, boundaries, spec, share, table)
        for (name, share), table in sorted(profile.tables.items())
        if profile.provenance_of(name).kind != "predicted" and (spec := peaks_of(profile, name)) is not None
    }


def peaks_of(profile: Profile, device_class: str) -> DeviceSpec | None:
    """The peaks of what ``device_class`` was measured on: the machine that measured it, else the class's name.

    A machine without a driver or a precision is a CPU; its peaks are rough.
    """
    machine = profile.provenance_of(device_class).machine
    if machine is None:
        return CATALOGUE.get(device_class)
    is_cpu = machine.driver is None and machine.precision is None
    return CATALOGUE.get(machine.device_class) or (CPU_CORE if is_cpu else None)


def calibration_data(folders: Mapping[Path, Profile]) -> list[Measured]:
    """What profiles in ``folders`` tell of the roofline, from their own model files.

    Raises :class:`BadInputError` for a profile without a model file, of another file than it names, or without a
    measured class of known peaks.
    """
    found: list[Measured] = []
    for folder, profile in folders.items():
        if profile.model_file is None:
            raise BadInputError(
                f"{folder}: names no model file, so its operators are not known. Profile it again."
            )
        model = read_onnx(Path(profile.model_file), profile.reading)
        check_same_model(profile, model)
        boundaries = boundaries_of(profile, len(model.graph.operators))
        # The peaks of a CPU core are not from a data sheet, so shares of them say nothing about a GPU.
        tables = [
            one
            for one in measured_tables(profile, model.graph, boundaries).values()
            if one.spec is not CPU_CORE
        ]
        if not tables:
            raise BadInputError(
                f"{folder}: no class of it is measured and in the catalogue ({', '.join(CATALOGUE)}), so there is "
                f"nothing to calibrate from."
            )
        found += tables
    return found


def check_same_model(profile: Profile, model: OnnxModel) -> None:
    """Raise :class:`BadInputError` unless ``profile`` was made from the file ``model`` was read from."""
    if profile.model_sha256 is not None and profile.model_sha256 != model.sha256:
        raise BadInputError(
            f"{model.path}: sha256 {model.sha256}, but the profile of {profile.model} was made from another file "
            f"({profile.model_sha256}). Name that file, or profile this one."
        )
