"""The integer program over templates, and its linear relaxation, solved by HiGHS.

Template ``t`` gets ``n[t, s]`` whole workers at stage ``s`` and serves ``r[t] <= n[t, s] * worker rate``.
A group is (model, stage position, device class); ``D[g]`` is its whole devices:

    maximise  z
    subject to  sum of r[t] over model m            >= weight[m] * z     for every model
                sum of n[t, s] / share over group g <= D[g]              for every group
                sum of D[g] over class c            <= count[c]          for every class
                n, D integer,  r, z >= 0.

This is the plan space of Kong et al., "PPipe" (USENIX ATC 2025, planning), with templates in place of
their products of binaries. Rates are scaled so that ``z`` is near 1, where the solver's absolute
tolerances (1e-6) are small against the gap asked for.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from penstock.plan.highs import Rows, run
from penstock.plan.templates import F64, I64, Templates


@dataclass(frozen=True)
class Fleet:
    """What the program shares out: ``count`` devices of each class, ``weight`` of each model."""

    count: I64
    weight: F64


@dataclass(frozen=True)
class Prices:
    """Optimum and duals of the linear relaxation: no plan's objective passes ``bound``.

    In units of the objective: ``device`` (classes,), the worth of one more device; ``rate`` (models,),
    the worth of one request per second. ``bound`` equals the worth of all devices.
    """

    bound: float
    device: F64
    rate: F64


@dataclass(frozen=True)
class Answer:
    """Workers (templates, stages) of the best plan found, and a proven limit on the objective of any."""

    workers: I64
    bound: float
    seconds: float
    nodes: int


def relax(templates: Templates, fleet: Fleet) -> Prices:
    """The linear relaxation over ``templates``: workers and devices may be split."""
    scale = objective_scale(templates, fleet)
    rows = Rows()
    objective = rows.column(cost=1.0)
    rate = [rows.column() for _ in range(len(templates))]
    cover_demand(rows, templates, fleet, objective, rate)
    scaled = templates.device_rps / (fleet.weight[templates.model] * scale)[:, None]
    for device_class, count in enumerate(fleet.count):
        # A template may use a class at several stages; a row must name a column once.
        need = np.where(templates.device_class == device_class, 1.0 / scaled, 0.0).sum(axis=1)
        rows.row([(rate[t], need[t]) for t in np.flatnonzero(need)], upper=float(count))
    highs = run(rows, {})
    dual = np.abs(np.array(highs.getSolution().row_dual)) * scale
    models = len(fleet.weight)
    return Prices(
        bound=highs.getInfo().objective_function_value * scale,
        device=dual[models:],
        rate=dual[:models] / (fleet.weight * scale),
    )


def solve(
    templates: Templates,
    fleet: Fleet,
    *,
    time_limit_s: float,
    gap: float,
    start: I64 | None = None,
    mix_shares: bool = True,
) -> Answer:
    """The integer program over ``templates``, to a relative ``gap`` or the time limit.

    ``start`` (templates, stages) is a plan to improve on. Without ``mix_shares`` a device holds workers of
    one share only, which any packing can follow.
    """
    began = time.perf_counter()
    scale = objective_scale(templates, fleet)
    rows, worker_column = _integer_program(templates, fleet, scale, mix_shares)
    options = {"time_limit": max(time_limit_s, 0.01), "mip_rel_gap": gap}
    used = worker_column >= 0
    guess = None if start is None else (worker_column[used], start[used])
    highs = run(rows, options, guess)
    info = highs.getInfo()
    value = np.array(highs.getSolution().col_value or np.zeros(len(rows.upper)))
    workers = np.where(used, np.rint(value[worker_column]), 0).astype(np.int64)
    return Answer(workers, info.mip_dual_bound * scale, time.perf_counter() - began, int(info.mip_node_count))


def objective_scale(templates: Templates, fleet: Fleet) -> float:
    """The objective's order of magnitude: all devices on the best template of the neediest model."""
    best = np.zeros(len(fleet.weight))
    np.maximum.at(best, templates.model, templates.device_rps.min(axis=1))
    return float((best * fleet.count.sum() / fleet.weight).min() / len(best))


def cover_demand(rows: Rows, templates: Templates, fleet: Fleet, objective: int, rate: Sequence[int]) -> None:
    """Every model's templates together serve its weight times the objective (rates are scaled)."""
    for m in range(len(fleet.weight)):
        own = [(rate[t], 1.0) for t in np.flatnonzero(templates.model == m).tolist()]
        rows.row([(objective, -1.0), *own], lower=0.0)


def group_key(templates: Templates, t: int, s: int, mix_shares: bool) -> tuple[int, ...]:
    """The group of a stage's workers, device class first; workers of one group may share devices."""
    device_class, share = int(templates.device_class[t, s]), int(templates.share[t, s])
    group = (device_class, int(templates.model[t]), s)
    return group if mix_shares else (*group, share)


def share_out_devices(
    rows: Rows, fleet: Fleet, groups: Mapping[tuple[int, ...], Sequence[tuple[int, Fraction]]]
) -> None:
    """Give every group whole devices, within the count of its class.

    ``groups``: by :func:`group_key`, the columns that use the group's devices, and how much of one each does.
    """
    devices: list[list[tuple[int, float]]] = [[] for _ in fleet.count]
    for (device_class, *_), members in groups.items():
        whole = rows.column(upper=float(fleet.count[device_class]), integer=True)
        devices[device_class].append((whole, 1.0))
        # Multiplied by the least common denominator, so that every coefficient is whole.
        unit = math.lcm(*(part.denominator for _, part in members))
        entries = [(column, float(part * unit)) for column, part in members]
        rows.row([(whole, -float(unit)), *entries], upper=0.0)
    for count, whole_devices in zip(fleet.count, devices, strict=True):
        rows.row(whole_devices, upper=float(count))


def _integer_program(
    templates: Templates, fleet: Fleet, scale: float, mix_shares: bool
) -> tuple[Rows, NDArray[np.int64]]:
    """The program's rows, and the column of every worker count (-1 where there is no stage)."""
    rows = Rows()
    objective = rows.column(cost=1.0)
    rate = [rows.column() for _ in range(len(templates))]
    cover_demand(rows, templates, fleet, objective, rate)
    worker_column = np.full(templates.share.shape, -1, dtype=np.int64)
    groups: dict[tuple[int, ...], list[tuple[int, Fraction]]] = defaultdict(list)
    for t, s in np.argwhere(templates.device_class >= 0).tolist():
        share = int(templates.share[t, s])
        most = float(fleet.count[templates.device_class[t, s]] * share)
        column = worker_column[t, s] = rows.column(upper=most, integer=True)
        scaled = templates.worker_rps[t, s] / (fleet.weight[templates.model[t]] * scale)
        rows.row([(rate[t], 1.0), (column, -scaled)], upper=0.0)
        groups[group_key(templates, t, s, mix_shares)].append((column, Fraction(1, share)))
    share_out_devices(rows, fleet, groups)
    return rows, worker_column
