"""The linear relaxation over the columns known so far. HiGHS keeps it between rounds and continues from its last
basis.

    throughput:  maximise z                 subject to  sum of r[t] over model m >= weight[m] * z
    cost:        minimise sum of r[t] * (cost of t)     subject to  sum of r[t] over model m >= weight[m]
    both:        sum of r[t] * (device time of t on class c) <= count[c]

over templates ``t`` at rate ``r[t]``, in the units of :mod:`penstock.plan.exact.worker_program`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64
from penstock.plan.exact.worker_program import SCALED_DEMAND, units_of
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import Templates, join
from penstock.solver import Solver


@dataclass(frozen=True)
class MasterAnswer:
    """``value``, prices of a device (classes,) and of a request per second (models,), and ``rate_rps`` (columns,)."""

    value: float
    device_price: F64
    request_price: F64
    rate_rps: F64


class Master:
    """The program and its columns. The first columns must serve every model and meet every demand."""

    def __init__(self, fleet: Fleet, columns: Templates) -> None:
        self._fleet, self._units = fleet, units_of(columns, fleet)
        self._solver = Solver(maximise=True)
        models = len(fleet.weight)
        demand = 0.0 if fleet.hourly_cost is None else SCALED_DEMAND
        self._solver.add_rows(np.full(models, demand), np.full(models, np.inf))
        self._solver.add_rows(np.full(len(fleet.count), -np.inf), fleet.count.astype(float))
        # The throughput. If demands are to be met, it has no part in the program.
        worth, part = (1.0, -1.0) if fleet.hourly_cost is None else (0.0, 0.0)
        entries = np.zeros((1, models + len(fleet.count)))
        entries[0, :models] = part
        self._solver.add_columns(np.array([worth]), np.array([np.inf if worth else 0.0]), entries)
        self.columns = columns.take(np.zeros(0, np.intp))
        self.add(columns)

    def add(self, columns: Templates) -> None:
        """Add ``columns`` to the program."""
        n, models = len(columns), len(self._fleet.weight)
        scaled = columns.device_rps / self._units.rate_rps[columns.model][:, None]
        need = np.zeros((n, models + len(self._fleet.count)))
        need[np.arange(n), columns.model] = 1.0
        for device_class in range(len(self._fleet.count)):
            on_class = columns.device_class == device_class
            need[:, models + device_class] = np.where(on_class, 1.0 / scaled, 0.0).sum(axis=1)
        cost = -need[:, models:] @ self._fleet.device_cost / self._units.value
        self._solver.add_columns(cost, np.full(n, np.inf), need)
        self.columns = join([self.columns, columns])

    def solve(self) -> MasterAnswer:
        """The optimum over the columns added so far."""
        self._solver.run()
        models = len(self._fleet.weight)
        dual = np.abs(self._solver.row_dual) * self._units.value
        return MasterAnswer(
            value=self._solver.objective * self._units.value,
            device_price=self._fleet.device_cost + dual[models:],
            request_price=dual[:models] / self._units.rate_rps,
            rate_rps=self._solver.values[1:] * self._units.rate_rps[self.columns.model],
        )
