"""The linear relaxation over the columns known so far, kept by HiGHS between rounds: it restarts where it stood.

    throughput:  maximise z                 subject to  sum of r[t] over model m >= weight[m] * z
    cost:        minimise sum of r[t] * (cost of t)     subject to  sum of r[t] over model m >= weight[m]
    both:        sum of r[t] * (device time of t on class c) <= count[c]

over templates ``t`` at rate ``r[t]``, in the units of :mod:`penstock.plan.program`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.plan.program import SCALED_DEMAND, Fleet, units_of
from penstock.plan.templates import F64, Templates, join


@dataclass(frozen=True)
class MasterAnswer:
    """``value``; the worth of a device (classes,) and of a request a second (models,); ``rate_rps`` (columns,)."""

    value: float
    device_price: F64
    request_price: F64
    rate_rps: F64


class Master:
    """The program and its columns. The first columns must serve every model, and every demand."""

    def __init__(self, fleet: Fleet, columns: Templates) -> None:
        import highspy

        self._fleet, self._units = fleet, units_of(columns, fleet)
        self._highs = highspy.Highs()
        for name, value in {"output_flag": False, "threads": 1, "random_seed": 0}.items():
            self._highs.setOptionValue(name, value)
        self._highs.changeObjectiveSense(highspy.ObjSense.kMaximize)
        models, none = len(fleet.weight), np.zeros(0, np.int32)
        demand = 0.0 if fleet.hourly_cost is None else SCALED_DEMAND
        for _ in range(models):
            self._highs.addRow(demand, np.inf, 0, none, np.zeros(0))
        for count in fleet.count:
            self._highs.addRow(-np.inf, float(count), 0, none, np.zeros(0))
        # The throughput; where demands are to be met it has no part.
        worth, part = (1.0, -1.0) if fleet.hourly_cost is None else (0.0, 0.0)
        every = np.arange(models, dtype=np.int32)
        self._highs.addCol(worth, 0.0, np.inf if worth else 0.0, models, every, np.full(models, part))
        self.columns = columns.take(np.zeros(0, np.intp))
        self.add(columns)

    def add(self, columns: Templates) -> None:
        """Let the program use ``columns`` too."""
        n, models = len(columns), len(self._fleet.weight)
        scaled = columns.device_rps / self._units.rate_rps[columns.model][:, None]
        need = np.zeros((n, models + len(self._fleet.count)))
        need[np.arange(n), columns.model] = 1.0
        for device_class in range(len(self._fleet.count)):
            on_class = columns.device_class == device_class
            need[:, models + device_class] = np.where(on_class, 1.0 / scaled, 0.0).sum(axis=1)
        cost = -need[:, models:] @ self._fleet.device_cost / self._units.value
        column, row = np.nonzero(need)
        start = np.searchsorted(column, np.arange(n)).astype(np.int32)
        self._highs.addCols(
            n, cost, np.zeros(n), np.full(n, np.inf), len(row), start, row.astype(np.int32), need[column, row]
        )
        self.columns = join([self.columns, columns])

    def solve(self) -> MasterAnswer:
        """The optimum over the columns added so far."""
        self._highs.run()
        solution, models = self._highs.getSolution(), len(self._fleet.weight)
        dual = np.abs(np.array(solution.row_dual)) * self._units.value
        return MasterAnswer(
            value=self._highs.getInfo().objective_function_value * self._units.value,
            device_price=self._fleet.device_cost + dual[models:],
            request_price=dual[:models] / self._units.rate_rps,
            rate_rps=np.array(solution.col_value)[1:] * self._units.rate_rps[self.columns.model],
        )
