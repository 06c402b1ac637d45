"""No fixed division of the fleet holds more: the best fractional mix of chains, each model's requests in one bucket.

At rates ``z * weight`` the sample paths are fixed. A mix gives chain t the capacity x[t] in requests per second, and
takes ``x[t] * device_s[t]`` of the devices. Of the requests that arrive within an interval of length T, the workers of
t serve at most ``x[t] * (T + window[t])`` in time. So the requests of a model meet a token bucket of rate ``sum x`` and
depth ``sum x * window``. Each run of its arrivals through the bucket gives a linear inequality for every mix
(:func:`penstock.plan.goodput_bound.token_bucket_kernels.serve_from_bucket`). Over the whole of the runs, chain t
carries y[t] requests of all models together, and they share the links too. The least part of the fleet that serves the
target is then found by cutting planes (Kelley, "The cutting-plane method for solving convex programs", 1960), with
chains priced as they are needed. If it is more than the whole fleet, no plan holds ``z``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64
from penstock.plan.goodput_bound.chain_uses import ChainUses
from penstock.plan.goodput_bound.paths import Path, Paths
from penstock.plan.goodput_bound.token_bucket_kernels import (
    EPISODES,
    LENGTH_S,
    OUTSIDE,
    SERVED,
    serve_from_bucket,
)
from penstock.plan.highs import Rows, run

PRECISION = 1e-3
"""Relative, of the bound and of the part of the fleet."""

ENOUGH = 1e-4
"""A model counts as served if the mix lacks less than this share of what it needs."""

MOST_CUTS, MOST_RATES = 60, 12
"""Limits of the two loops. Published scenarios need some ten cuts and four rates."""

LINKS_FIRST = 1e6
"""How much more a link's time counts than a device's when chains are looked for that the links can carry."""

_TINY = 1e-300


@dataclass(frozen=True)
class Whole:
    """The whole of the runs: all together take ``length_s``, and ``need`` (models,) requests must be met.

    ``spare_s``: by how much the time in which links can be used is longer, and ``runs`` their number.
    """

    length_s: float
    runs: int
    spare_s: float
    need: F64


@dataclass(frozen=True)
class Cut:
    """What holds for every mix of ``model``: ``sum over its chains of x * (length_s + episodes * window) >= need``."""

    model: int
    length_s: float
    episodes: float
    need: float


@dataclass(frozen=True)
class Demand:
    """What one rate asks for: the part of the fleet that no mix goes below.

    ``device_price`` (classes,) and ``link_price`` (links,): dual prices there.
    """

    fleet_part: float
    device_price: F64
    link_price: F64


@dataclass(frozen=True)
class _Answer:
    """One program: its optimum, ``capacity`` x by column, and the duals: of devices, links, means and cuts."""

    part: float
    capacity: F64
    device_price: F64
    link_price: F64
    mean_value: F64
    cut_value: F64


def static_bound(
    uses: ChainUses, weights: Sequence[float], paths: Paths, target: float, slo_s: float, start_rps: float
) -> float:
    """The least rate / weight found that no fixed division of the fleet holds.

    ``slo_s`` is the longest SLO, ``start_rps`` a first guess, such as that of :func:`fluid`. What is returned is proven
    for the very paths drawn there. To :data:`PRECISION` it is the least such rate, if the need grows with the rate.
    """
    asked_rps, low, high = start_rps, 0.0, np.inf
    for _ in range(MOST_RATES):
        drawn = paths([asked_rps * weight for weight in weights])
        need = [target * sum(len(path[m]) for path in drawn) for m in range(len(weights))]
        part = least_fleet(uses, drawn, need, slo_s).fleet_part
        low, high = (low, min(high, asked_rps)) if part > 1.0 else (max(low, asked_rps), high)
        if high <= low * (1 + PRECISION):
            break
        asked_rps = asked_rps * (1 + PRECISION / 2) / part if np.isfinite(part) else 0.5 * (low + high)
        if low > 0 and high < np.inf and not low < asked_rps < high:
            asked_rps = 0.5 * (low + high)
    return float(high)


def fluid(uses: ChainUses, weights: Sequence[float]) -> Demand:
    """What one request per second of unit weight asks for, if requests may wait for ever."""
    return _priced(uses, Whole(1.0, 0, 0.0, np.array(weights, np.float64)), lambda columns, capacity: [])


def least_fleet(uses: ChainUses, paths: Sequence[Path], need: Sequence[float], slo_s: float) -> Demand:
    """The least part of the fleet with which a mix can serve ``need`` (models,) of the arrivals on ``paths``."""
    spans = [[times[[0, -1]] for times in path if len(times)] for path in paths]
    length_s = sum(float(np.ptp(np.concatenate(span))) for span in spans if span)
    whole = Whole(length_s, len(paths), slo_s * len(paths), np.array(need, np.float64))
    return _priced(uses, whole, lambda columns, capacity: _broken(uses, columns, capacity, paths, need))


def _priced(uses: ChainUses, whole: Whole, broken_by: Callable[[list[int], F64], list[Cut]]) -> Demand:
    """The least part of the fleet for the ``whole``, and for the cuts that ``broken_by`` finds mixes to break.

    Infinite if the links cannot carry it, whatever the devices; zero if nothing is needed.
    """
    if not whole.need.any():
        return Demand(0.0, np.zeros(len(uses.devices)), np.zeros(len(uses.links)))
    cuts: list[Cut] = []
    fleet_s = uses.device_s @ (1.0 / np.maximum(uses.devices, _TINY))
    network_s = uses.link_s @ (1.0 / np.maximum(uses.links, _TINY))
    # Links nearly always carry the second. If they carried none, all chains would have to be tried at once.
    columns = sorted(
        {*_best_by_model(uses, -fleet_s), *_best_by_model(uses, -fleet_s - LINKS_FIRST * network_s)}
    )
    best = Demand(0.0, np.zeros(len(uses.devices)), np.zeros(len(uses.links)))
    for _ in range(MOST_CUTS):
        answer = _solve(uses, columns, whole, cuts)
        if answer is None:
            # The links cannot carry it with these chains, and there are no prices to find better ones by: try all.
            others = sorted(set(range(len(uses.model))) - set(columns))
            if not others:
                return Demand(np.inf, np.zeros(len(uses.devices)), np.zeros(len(uses.links)))
            columns += others
            continue
        ratio = _worth(uses, whole, cuts, answer) / np.maximum(uses.device_s @ answer.device_price, _TINY)
        # Weak duality: lower all values until no chain is worth more than it costs. What is left is proven.
        proven = answer.part / max(1.0, float(ratio.max()))
        if proven > best.fleet_part:
            best = Demand(proven, answer.device_price, answer.link_price)
        new = [t for t in _best_by_model(uses, ratio) if ratio[t] > 1 + PRECISION / 10 and t not in columns]
        broken = broken_by(columns, answer.capacity)
        if not new and not broken:
            break
        columns += new
        cuts += broken
    return best


def _best_by_model(uses: ChainUses, score: F64) -> list[int]:
    """The chain of the highest score of each model."""
    order = np.lexsort((-score, uses.model))
    return [int(t) for t in order[np.flatnonzero(np.diff(uses.model[order], prepend=-1))]]


def _worth(uses: ChainUses, whole: Whole, cuts: Sequence[Cut], answer: _Answer) -> F64:
    """What one unit of capacity of each chain is worth at the duals: (chains,)."""
    carried = np.maximum(answer.mean_value[uses.model] - uses.link_s @ answer.link_price, 0.0)
    worth = carried * (whole.length_s + whole.runs * uses.window_s)
    for cut, value in zip(cuts, answer.cut_value.tolist(), strict=True):
        worth += np.where(uses.model == cut.model, value * (cut.length_s + cut.episodes * uses.window_s), 0.0)
    return np.asarray(worth)


def _solve(uses: ChainUses, columns: Sequence[int], whole: Whole, cuts: Sequence[Cut]) -> _Answer | None:
    """The least part of the fleet over ``columns``; None if no part is enough.

    Recomputed from the duals, it needs no tolerance of the solver.

    Capacities and requests are scaled by what their model needs, so that all entries are near 1.
    """
    rows = Rows()
    unit = np.maximum(whole.need, _TINY)[uses.model]
    capacity = {t: rows.column() for t in columns}
    carried = {t: rows.column() for t in columns}
    part = rows.column(cost=-1.0)
    for m in range(len(whole.need)):
        rows.row([(carried[t], 1.0) for t in columns if uses.model[t] == m], lower=float(whole.need[m] > 0))
    for cut in cuts:
        scale = whole.length_s * cut.need / whole.need[cut.model]
        entries = [
            (capacity[t], (cut.length_s + cut.episodes * float(uses.window_s[t])) / scale)
            for t in columns
            if uses.model[t] == cut.model
        ]
        rows.row(entries, lower=1.0)
    for c, count in enumerate(uses.devices.tolist()):
        scale = max(count, _TINY) * whole.length_s
        entries = [
            (capacity[t], unit[t] * float(uses.device_s[t, c]) / scale)
            for t in columns
            if uses.device_s[t, c]
        ]
        rows.row([*entries, (part, -1.0)], upper=0.0)
    link_time_s = (whole.length_s + whole.spare_s) * np.maximum(uses.links, _TINY)
    for link in range(len(uses.links)):
        entries = [(carried[t], unit[t] * float(uses.link_s[t, link]) / link_time_s[link]) for t in columns]
        rows.row([entry for entry in entries if entry[1]], upper=1.0)
    for t in columns:
        most = 1.0 + whole.runs * float(uses.window_s[t]) / whole.length_s
        rows.row([(carried[t], 1.0), (capacity[t], -most)], upper=0.0)
    solver = run(rows)
    if not solver.has_solution:
        return None
    models, classes, links = len(whole.need), len(uses.devices), len(uses.links)
    places = np.cumsum([models, len(cuts), classes, links])
    mean, cut_dual, device, link_dual, _ = np.split(np.abs(solver.row_dual), places)
    total = float(device.sum())
    value = float(mean[whole.need > 0].sum() + cut_dual.sum() - link_dual.sum()) / total
    amount = solver.values[[capacity[t] for t in columns]]
    return _Answer(
        part=value,
        capacity=amount * unit[list(columns)] / whole.length_s,
        device_price=device / total / np.maximum(uses.devices, _TINY),
        link_price=link_dual / total / link_time_s,
        mean_value=mean / total / np.maximum(whole.need, _TINY),
        cut_value=cut_dual / total / np.array([cut.need for cut in cuts]),
    )


def _broken(
    uses: ChainUses, columns: Sequence[int], capacity: F64, paths: Sequence[Path], need: Sequence[float]
) -> list[Cut]:
    """For each model that the mix does not serve well enough, the inequality that says so."""
    cuts = []
    for m, least in enumerate(need):
        own = uses.model[list(columns)] == m
        rate_rps = float(capacity[own].sum())
        depth = float(capacity[own] @ uses.window_s[list(columns)][own])
        found = np.zeros(4)
        for path in paths:
            serve_from_bucket(path[m], rate_rps, depth, found)
        if found[SERVED] < least * (1 - ENOUGH) and least > found[OUTSIDE]:
            cuts.append(Cut(m, found[LENGTH_S], found[EPISODES], least - found[OUTSIDE]))
    return cuts
