"""Kernels over pipelines of whole workers: the cheapest by rate, the cheapest covers, many covers, and their choice.

A pipeline's rate is a whole multiple of some stage's worker rate; the other stages need only as many workers as that
rate requires, and at least one for each piece of a split stage. ``worker_rps``, ``worker_price`` and ``least`` workers
are (templates, stages), padded with infinity, 0 and 1. Rates are counted in cells of ``most_rps / cells``. The *loss*
of a pipeline is its price less ``request_price`` times its rate.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from penstock.arrays import F64, I64
from penstock.kernels import compiled

ROUNDING = 1e-9
"""As in :func:`penstock.plan.templates.table.whole_workers`: a rounding error never adds a worker, or a cell."""

KICKS = 0.05
"""How often the exchange takes a worse pair."""


class Cheapest(NamedTuple):
    """By cell (cells + 1,): the ``price`` of the cheapest pipeline, infinite if there is none, its ``row`` among the
    templates, and its ``rate_rps``."""

    price: F64
    row: I64
    rate_rps: F64


class Listed(NamedTuple):
    """Pipelines one by one: the ``row`` of a template, the rate, and the price."""

    row: I64
    rate_rps: F64
    price: F64


@compiled(nogil=True)
def split_price(worker_rps: F64, worker_price: F64, t: int) -> float:
    """The price of a request per second on template ``t`` if workers may be split."""
    price = 0.0
    for s in range(worker_rps.shape[1]):
        price += worker_price[t, s] / worker_rps[t, s]
    return price


@compiled(nogil=True)
def whole_price(worker_rps: F64, worker_price: F64, least: I64, t: int, rate_rps: float) -> float:
    """The price of the whole workers with which template ``t`` serves ``rate_rps``."""
    price = 0.0
    for s in range(worker_rps.shape[1]):
        workers = max(np.ceil(rate_rps / worker_rps[t, s] - ROUNDING), float(least[t, s]))
        price += workers * worker_price[t, s]
    return price


@compiled(nogil=True)
def cheapest_pipelines(
    worker_rps: F64,
    worker_price: F64,
    least: I64,
    request_price: float,
    most_loss: float,
    most_rps: float,
    cells: int,
) -> Cheapest:
    """The cheapest pipelines by cell, among those that lose at most ``most_loss``; a higher rate counts as the most.

    Rates are rounded up to cells, so covers of these are no dearer than the truth.
    """
    templates, stages = worker_rps.shape
    price, row = np.full(cells + 1, np.inf), np.full(cells + 1, -1)
    rate_of = np.zeros(cells + 1)
    for t in range(templates):
        excess = split_price(worker_rps, worker_price, t) - request_price
        for s in range(stages):
            if worker_rps[t, s] == np.inf:
                continue
            rate, workers = 0.0, least[t, s] - 1
            while rate < most_rps:
                workers += 1
                rate = min(workers * worker_rps[t, s], most_rps)
                if excess * rate > most_loss:
                    break
                here = whole_price(worker_rps, worker_price, least, t, rate)
                cell = min(int(np.ceil(rate / most_rps * cells - ROUNDING)), cells)
                if here < price[cell] and here - request_price * rate <= most_loss:
                    price[cell], row[cell], rate_of[cell] = here, t, rate
    return Cheapest(price, row, rate_of)


@compiled(nogil=True)
def cheapest_covers(size: I64, price: F64, cells: int) -> tuple[F64, I64]:
    """The least price of items, each as often as wanted, that fill at least so many cells: (cells + 1,); the item last
    used, likewise."""
    least, last = np.zeros(cells + 1), np.full(cells + 1, -1)
    for filled in range(1, cells + 1):
        best, item = np.inf, -1
        for k in range(len(size)):
            total = price[k] + least[max(filled - size[k], 0)]
            if total < best:
                best, item = total, k
        least[filled], last[filled] = best, item
    return least, last


@compiled(nogil=True)
def list_pipelines(
    worker_rps: F64,
    worker_price: F64,
    least: I64,
    kind: I64,
    request_price: float,
    most_loss: float,
    most_rps: float,
    most: int,
) -> tuple[Listed, bool]:
    """The pipelines that lose at most ``most_loss``; false if they are more than ``most``, a power of 2.

    ``kind`` (templates, stages): a number for a worker. Of pipelines whose workers have the same sum of these, which
    take equal parts of devices, the fastest is listed.
    """
    templates, stages = worker_rps.shape
    row, rate_of, price_of = np.empty(most, np.int64), np.empty(most), np.empty(most)
    # A hash table with open addresses: where the pipeline of a sum is listed.
    places = 4 * most
    sums, place_of = np.zeros(places, np.int64), np.full(places, -1)
    made = 0
    for t in range(templates):
        excess = split_price(worker_rps, worker_price, t) - request_price
        for s in range(stages):
            if worker_rps[t, s] == np.inf:
                continue
            rate, workers = 0.0, least[t, s] - 1
            while rate < most_rps:
                workers += 1
                rate = min(workers * worker_rps[t, s], most_rps)
                if excess * rate > most_loss:
                    break
                price = whole_price(worker_rps, worker_price, least, t, rate)
                if price - request_price * rate > most_loss:
                    continue
                use = 0
                for u in range(stages):
                    need = max(np.ceil(rate / worker_rps[t, u] - ROUNDING), float(least[t, u]))
                    use += int(need) * kind[t, u]
                at = (use >> 20) & (places - 1)
                while place_of[at] >= 0 and sums[at] != use:
                    at = (at + 1) & (places - 1)
                k = place_of[at]
                if k < 0:
                    if made == most:
                        return Listed(row, rate_of, price_of), False
                    k = made
                    sums[at], place_of[at], rate_of[k] = use, k, 0.0
                    made += 1
                if rate > rate_of[k]:
                    row[k], rate_of[k], price_of[k] = t, rate, price
    return Listed(row[:made], rate_of[:made], price_of[:made]), True


@compiled(nogil=True)
def draw_covers(size: I64, price: F64, filled: I64, cells: int, tries: int, depth: int, seed: int) -> I64:
    """Covers of items at prices that are drawn anew: their items, padded with -1 (draws, fills, tries, depth).

    ``price`` (draws, items). ``filled`` (fills,): how many cells a cover fills. The first try is the cheapest cover of
    a draw. The others fill a random part as another draw does. A cover of more than ``depth`` items is left out.
    """
    np.random.seed(seed)
    draws, items = price.shape
    found = np.full((draws, len(filled), tries, depth), -1)
    taken = np.full((draws, cells + 1), -1)
    cheapest, who = np.empty(cells + 1), np.empty(cells + 1, np.int64)
    for draw in range(draws):
        cheapest[:] = np.inf
        for item in range(items):
            if price[draw, item] < cheapest[size[item]]:
                cheapest[size[item]], who[size[item]] = price[draw, item], item
        useful = np.empty(cells + 1, np.int64)
        many, larger = 0, np.inf
        for cell in range(cells, 0, -1):
            if cheapest[cell] < larger:
                useful[many], larger = cell, cheapest[cell]
                many += 1
        if many:
            sizes = useful[:many].copy()
            _, last = cheapest_covers(sizes, cheapest[sizes], cells)
            for cell in range(1, cells + 1):
                taken[draw, cell] = who[sizes[last[cell]]]
    for draw in range(draws):
        for k in range(len(filled)):
            for one in range(tries):
                other = np.random.randint(draws)
                part = np.random.randint(filled[k] + 1) if one else 0
                used = _take(taken[other], size, part, found[draw, k, one], 0)
                used = _take(taken[draw], size, filled[k] - part, found[draw, k, one], used)
                if used < 0:
                    found[draw, k, one] = -1
    return found


@compiled(nogil=True)
def _take(taken: I64, size: I64, cells: int, into: I64, used: int) -> int:
    """Put the items of a cover of ``cells`` into ``into`` from ``used`` on. Where the next one goes; -1: no room."""
    while cells > 0 and used >= 0:
        if used == len(into) or taken[cells] < 0:
            return -1
        into[used] = taken[cells]
        cells -= size[taken[cells]]
        used += 1
    return used


@compiled(nogil=True)
def exchange_pairs(
    use: F64, first: I64, count: F64, price: F64, chosen: I64, rounds: int, seed: int
) -> tuple[I64, float]:
    """One cover for each model, so that the price of the devices that are missing is least; it ends at 0.

    ``use`` (covers, classes) of all models; those of model ``m`` are rows ``first[m]`` to ``first[m + 1]``. In each
    round the covers of two models are chosen anew, the best pair given all others. ``chosen`` (models,) is where it
    starts. Models exchange in random order, and a worse pair is taken now and then.
    """
    np.random.seed(seed)
    models, classes = len(first) - 1, use.shape[1]
    now, best = chosen.copy(), chosen.copy()
    total, room = np.zeros(classes), np.zeros(classes)
    for m in range(models):
        total += use[now[m]]
    missing = (price * np.maximum(total - count, 0.0)).sum()
    fewest = missing
    for _ in range(rounds):
        if fewest <= ROUNDING or models < 2:
            break
        a = np.random.randint(models)
        b = np.random.randint(models - 1)
        b += b >= a
        for c in range(classes):
            room[c] = count[c] - total[c] + use[now[a], c] + use[now[b], c]
        least, one, two = np.inf, -1, -1
        for i in range(first[a], first[a + 1]):
            alone = 0.0
            for c in range(classes):
                alone += price[c] * max(use[i, c] - room[c], 0.0)
            if alone >= least:
                continue
            for j in range(first[b], first[b + 1]):
                here = 0.0
                for c in range(classes):
                    over = use[i, c] + use[j, c] - room[c]
                    if over > ROUNDING:
                        here += price[c] * over
                if here < least and not (i == now[a] and j == now[b]):
                    least, one, two = here, i, j
            if least <= ROUNDING:
                break
        # A pair that is a little worse is sometimes taken, or the search would stay where it is.
        if one >= 0 and (least <= missing or np.random.random() < KICKS):
            total += use[one] + use[two] - use[now[a]] - use[now[b]]
            now[a], now[b], missing = one, two, least
            if missing < fewest:
                fewest, best = missing, now.copy()
    return best, fewest
