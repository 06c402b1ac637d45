"""The linear relaxation over the columns known so far, kept by HiGHS between rounds: it restarts where it stood.

    maximise  z
    subject to  sum of r[t] over model m                               >= weight[m] * z   for every model
                sum of r[t] * (device time of t on class c) over t     <= count[c]        for every class

over templates ``t`` at rate ``r[t]``; rates are scaled as in :mod:`penstock.plan.program`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.plan.program import Fleet, objective_scale
from penstock.plan.templates import F64, Templates, join


@dataclass(frozen=True)
class MasterAnswer:
    """``objective``; the worth of a device (classes,) and of a request a second (models,); ``rate_rps`` (columns,)."""

    objective: float
    device_price: F64
    request_price: F64
    rate_rps: F64


class Master:
    """The program and its columns; every model must have one from the start."""

    def __init__(self, fleet: Fleet, columns: Templates) -> None:
        import highspy

        self._fleet = fleet
        self._scale = objective_scale(columns, fleet)
        self._highs = highspy.Highs()
        for name, value in {"output_flag": False, "threads": 1, "random_seed": 0}.items():
            self._highs.setOptionValue(name, value)
        self._highs.changeObjectiveSense(highspy.ObjSense.kMaximize)
        infinity = highspy.kHighsInf
        models, none = len(fleet.weight), np.zeros(0, np.int32)
        for _ in range(models):
            self._highs.addRow(0.0, infinity, 0, none, np.zeros(0))
        for count in fleet.count:
            self._highs.addRow(-infinity, float(count), 0, none, np.zeros(0))
        self._highs.addCol(
            1.0, 0.0, infinity, models, np.arange(models, dtype=np.int32), np.full(models, -1.0)
        )
        self.columns = columns.take(np.zeros(0, np.intp))
        self.add(columns)

    def add(self, columns: Templates) -> None:
        """Let the program use ``columns`` too."""
        n, models = len(columns), len(self._fleet.weight)
        scaled = columns.device_rps / (self._fleet.weight[columns.model] * self._scale)[:, None]
        need = np.zeros((n, models + len(self._fleet.count)))
        need[np.arange(n), columns.model] = 1.0
        for device_class in range(len(self._fleet.count)):
            on_class = columns.device_class == device_class
            need[:, models + device_class] = np.where(on_class, 1.0 / scaled, 0.0).sum(axis=1)
        column, row = np.nonzero(need)
        start = np.searchsorted(column, np.arange(n)).astype(np.int32)
        self._highs.addCols(
            n,
            np.zeros(n),
            np.zeros(n),
            np.full(n, np.inf),
            len(row),
            start,
            row.astype(np.int32),
            need[column, row],
        )
        self.columns = join([self.columns, columns])

    def solve(self) -> MasterAnswer:
        """The optimum over the columns added so far."""
        self._highs.run()
        solution, models = self._highs.getSolution(), len(self._fleet.weight)
        dual = np.abs(np.array(solution.row_dual)) * self._scale
        rate = np.array(solution.col_value)[1:] * (self._fleet.weight[self.columns.model] * self._scale)
        return MasterAnswer(
            objective=self._highs.getInfo().objective_function_value * self._scale,
            device_price=dual[models:],
            request_price=dual[:models] / (self._fleet.weight * self._scale),
            rate_rps=rate,
        )
