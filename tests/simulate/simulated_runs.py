"""What the tests of the simulator share: arrivals, a busy fleet, equality of records."""

from __future__ import annotations

import dataclasses

import numpy as np

from fleet_tables import Pipeline, Stage, make_table
from penstock.record import Record
from penstock.schedule.table import DispatchTable
from penstock.traffic.arrivals import Arrivals


def busy_table() -> DispatchTable:
    stages = [
        Stage([900, 1000, 1100], [0, 1], (), [1200, 1300, 1400]),
        Stage([700, 800, 900], [2, 3], [90, 180, 270]),
    ]
    return make_table([(6_000, [Pipeline(3, stages)]), (5_000, [Pipeline(2, stages)])])


def names(table: DispatchTable) -> list[str]:
    return [f"m{model}" for model in range(table.n_models)]


def as_arrivals(rows: list[tuple[int, int, int]]) -> Arrivals:
    arrival, model, slo = (np.array(column, np.int64) for column in zip(*rows, strict=True))
    return Arrivals(arrival, model, slo)


def same(one: Record, other: Record) -> bool:
    return all(
        np.array_equal(getattr(getattr(one, table), f.name), getattr(getattr(other, table), f.name))
        for table in ("requests", "batches")
        for f in dataclasses.fields(getattr(one, table))
    )
