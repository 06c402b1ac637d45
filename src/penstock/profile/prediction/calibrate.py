"""Fit the roofline's efficiencies to a measured profile, so that an unseen device class is predicted better.

A profile measures blocks, not operators; a block's time is the sum over its operators. Sought are factors on the
default shares of the peaks, for arithmetic and for bandwidth: one for each group of operators present, and one for
each device class measured; and the same on the launch time. The factors of a class say how all its groups differ from
other classes (clocks that its power allows, its cache, its host), so they stay with that class; the others carry over
to a class not seen. They minimise the squared log ratio of predicted to measured time over blocks, batches and shares,
plus a pull to 1 that leaves alone what the measurements do not tell:

    sum over cells (log predicted - log measured)^2 / sigma^2 + sum over factors (log factor)^2 / tau^2

with sigma the log-scatter expected of a cell and tau that of a factor: maximum a posteriori for log-normal errors and
priors, classes and groups being crossed random effects (J. Pinheiro, D. Bates, "Mixed-Effects Models in S and S-PLUS",
section 1.1). Solved by the Levenberg-Marquardt method (J. Nocedal, S. Wright, "Numerical Optimization", 2nd ed.,
section 10.3): a step is taken only if it lowers the sum, so the sum is never above that of the default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph
from penstock.profile.prediction.device_catalogue import DeviceSpec
from penstock.profile.prediction.efficiency import (
    DEFAULT_TABLE,
    GROUPS,
    DeviceFactor,
    Efficiency,
    EfficiencyTable,
)
from penstock.profile.prediction.predict import Work, block_sums, roofline_us, work_of
from penstock.profile.table import LatencyTable

SIGMA, TAU_DEVICE, TAU_GROUP = 0.2, 0.5, 0.2
"""A cell is expected within some 20% of the model. Classes differ by more than groups: of the default's errors on four
classes and four models (benchmarks/predict.py), most is common to all blocks of a class. With a TAU_GROUP of 0.3 what
one class teaches makes the others worse; with 0.1 little is learned of the class itself."""
MOST_CELLS_PER_TABLE = 64
"""Batches are thinned to this many cells for each table: neighbouring batches say the same."""
STEPS, LEAST_GAIN, MOST_DAMPING = 60, 1e-6, 1e8


@dataclass(frozen=True)
class Measured:
    """One measured table: of the blocks ``boundaries`` of ``graph``, on a device with the peaks ``spec``."""

    graph: ModelGraph
    boundaries: Sequence[int]
    spec: DeviceSpec
    share: int
    table: LatencyTable


@dataclass(frozen=True)
class Calibration:
    """The fitted table; the median absolute log ratio on the measurements before and after."""

    table: EfficiencyTable
    error_before: float
    error_after: float


@dataclass(frozen=True)
class _Cells:
    """One measured table, ready to be compared: log of the measured times, shape (blocks, batches)."""

    work: Work
    boundaries: Sequence[int]
    spec: DeviceSpec
    share: int
    batches: tuple[int, ...]
    log_measured: F64
    counted: NDArray[np.bool_]

    def residuals(self, table: EfficiencyTable) -> F64:
        """Log of predicted over measured, of the cells that count."""
        columns = [
            block_sums(roofline_us(self.work, self.spec, batch, self.share, table), self.boundaries)
            for batch in self.batches
        ]
        predicted = np.stack(columns, axis=1)
        found: F64 = np.log(np.maximum(predicted, 1e-3))[self.counted] - self.log_measured[self.counted]
        return found


def calibrate(
    measured: Sequence[Measured], source: str, start: EfficiencyTable = DEFAULT_TABLE
) -> Calibration:
    """The table that explains ``measured`` best and stays near ``start`` if the measurements do not say otherwise.

    Raises :class:`BadInputError` if nothing measured has a time above 0.
    """
    cells = [_cells(one) for one in measured]
    if not sum(int(one.counted.sum()) for one in cells):
        raise BadInputError("no measured block takes any time: there is nothing to calibrate from.")
    fit = _Fit(cells, start, source)
    factors = fit.solve()
    return Calibration(
        table=fit.table(factors),
        error_before=float(np.median(np.abs(fit.errors(np.zeros_like(factors))))),
        error_after=float(np.median(np.abs(fit.errors(factors)))),
    )


class _Fit:
    """The least-squares problem. Log factors: arithmetic of each group present and of each class, then bandwidth of
    the same, then launch of all and of each class."""

    def __init__(self, cells: Sequence[_Cells], start: EfficiencyTable, source: str) -> None:
        self._cells, self._start, self._source = cells, start, source
        present = {int(place) for one in cells for place in one.work.group[one.work.launches > 0]}
        self._groups = [GROUPS[place] for place in sorted(present)]
        self._devices = sorted({one.spec.name for one in cells})
        each = [TAU_GROUP] * len(self._groups) + [TAU_DEVICE] * len(self._devices)
        # The launch time does not depend on the group: one factor for all, and one for each class.
        self._tau = np.array([*each, *each, TAU_GROUP, *[TAU_DEVICE] * len(self._devices)])

    def table(self, factors: F64) -> EfficiencyTable:
        """``start`` with the factors applied."""
        count = len(self._groups)
        launch, *launches = np.exp(factors[-1 - len(self._devices) :]).tolist()
        arithmetic, bandwidth = np.exp(factors[: -1 - len(self._devices)]).reshape(2, -1).tolist()
        groups = dict(self._start.groups)
        for name, faster, wider in zip(self._groups, arithmetic, bandwidth, strict=False):
            plain = groups[name]
            groups[name] = Efficiency(plain.vector * faster, plain.tensor * faster, plain.bandwidth * wider)
        devices = dict(self._start.devices)
        for name, *found in zip(self._devices, arithmetic[count:], bandwidth[count:], launches, strict=True):
            old = devices.get(name, DeviceFactor())
            devices[name] = DeviceFactor(
                old.arithmetic * found[0], old.bandwidth * found[1], old.launch * found[2]
            )
        return EfficiencyTable(groups, self._start.launch_us * launch, self._source, devices)

    def errors(self, factors: F64) -> F64:
        """Log of predicted over measured of every cell."""
        table = self.table(factors)
        return np.concatenate([one.residuals(table) for one in self._cells])

    def solve(self) -> F64:
        """The log factors of least sum of squares."""
        factors = np.zeros_like(self._tau)
        residuals = self._residuals(factors)
        damping = 1.0
        for _ in range(STEPS):
            slope = self._slope(factors, residuals)
            normal, gradient = slope.T @ slope, slope.T @ residuals
            step = np.linalg.solve(normal + damping * np.diag(np.diag(normal)), -gradient)
            tried = self._residuals(factors + step)
            gain = float(residuals @ residuals - tried @ tried)
            if gain <= 0:
                damping *= 4
                if damping > MOST_DAMPING:
                    break
                continue
            factors, done = factors + step, gain < LEAST_GAIN * float(residuals @ residuals)
            residuals, damping = tried, damping / 3
            if done:
                break
        return factors

    def _residuals(self, factors: F64) -> F64:
        return np.concatenate([self.errors(factors) / SIGMA, factors / self._tau])

    def _slope(self, factors: F64, residuals: F64) -> F64:
        """By differences. The model has a corner, where arithmetic and memory traffic take equally long, so a
        formula would not be better."""
        width = 1e-4
        moved = [self._residuals(factors + width * unit) for unit in np.eye(len(factors))]
        slope: F64 = (np.stack(moved, axis=1) - residuals[:, None]) / width
        return slope


def _cells(one: Measured) -> _Cells:
    blocks, most = one.table.computing_us.shape
    wanted = max(MOST_CELLS_PER_TABLE // blocks, 2)
    given = np.array(one.table.batches)
    # Only batches that were measured: one that is filled in tells nothing of its own.
    asked = np.rint(np.geomspace(1, most, min(wanted, most)))
    batches = sorted({int(batch) for batch in given[np.searchsorted(given, asked)]})
    measured = one.table.computing_us[:, np.array(batches) - 1].astype(np.float64)
    return _Cells(
        work=work_of(one.graph),
        boundaries=one.boundaries,
        spec=one.spec,
        share=one.share,
        batches=tuple(batches),
        log_measured=np.log(np.maximum(measured, 0.5)),
        counted=measured > 0,
    )
