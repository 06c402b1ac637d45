"""A bound that knows whole workers, without listing templates: it is below that of the relaxation if fleets are small.

At prices ``p`` of a device, let ``c[m](R)`` be the least price of whole workers that serve rate ``R`` of model ``m``,
over all templates. The workers of a plan take no more devices than there are. So for any prices,

    throughput: no plan reaches z if the sum of c[m](weight[m] * z) is more than the sum of p * count,
    cost:       every plan costs at least the sum of c[m](demand[m]) less the sum of (p - cost) * count.

This is the Lagrangian bound with one block for each model, whose block is solved over whole numbers (Geoffrion,
"Lagrangean relaxation for integer programming", Mathematical Programming Study 2, 1974: it is as good as the relaxation
only if blocks have no integrality to lose, and here they have).

``c[m]`` is bounded from below in two steps:

1. *One pipeline.* Divide the rates up to the largest useful one into bands of relative width :data:`BAND`. A pipeline
   with a rate in a band needs at least the workers that serve the band's lower end, and serves no
   more than its upper end. At that rate the price of a stage is fixed: its price for a worker times a whole
   number. So the cheapest template is again a shortest path under a latency limit
   (:mod:`penstock.plan.templates.path_kernels`).
2. *Several pipelines.* They cover the rate: a covering knapsack problem over the bands, solved over :data:`CELLS`
   parts of the rate, with every rate rounded up. Pipelines below the lowest band together cost at least one worker at
   each stage of one of them, and at least their number times that; so they count as divisible, with a least price.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from penstock.arrays import F64, I64
from penstock.clock import solving_seconds
from penstock.kernels import compiled
from penstock.plan.large.column_generation import THREADS
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.path_kernels import completions, least_cost
from penstock.plan.templates.space import TemplateSpace
from penstock.units import US_PER_S

BAND = 0.005
"""Relative width of a band of rates. The bound of a model is too low by at most this part."""

LOWEST = 0.01
"""The lower end of the lowest band, as a part of the largest useful rate."""

SPARE_PARTS = 2.0
"""A pipeline is not priced exactly if it costs more than split workers by so many times what the gap leaves a model,"""

SPARE_SMALLEST, SPARE_SHARE = 4.0, 0.02
"""or by so many of the smallest pipelines and so much of the model's price together: no good plan rounds up so much."""

CELLS = 4000
"""Parts of a rate in the covering problem."""

HALVINGS = 20
"""Steps of the search for the throughput that the bound excludes: to a millionth of the interval."""


@dataclass(frozen=True)
class Bands:
    """What one pipeline of a model costs at least, by band.

    ``serves_rps`` (bands,): the upper end of a band. ``price`` (bands,): the least price of a pipeline in it.
    ``smallest``: the least price of any pipeline. ``unit_price``: the least price of a request per second in pipelines
    below the lowest band.
    """

    serves_rps: F64
    price: F64
    smallest: float
    unit_price: float


def tightened(
    spaces: Sequence[TemplateSpace], fleet: Fleet, prices: Prices, known: float, deadline: float
) -> float:
    """The bound of ``prices``, or a lower one that knows whole workers, of the value of every plan over ``spaces``.

    ``known``: the value of a plan; a bound below it is not looked for. After ``deadline`` (of
    :func:`penstock.clock.solving_seconds`) the bound of ``prices`` stays.
    """
    throughput = fleet.hourly_cost is None
    most_rps = fleet.weight * (prices.bound if throughput else 1.0)
    worth = float((prices.device - fleet.device_cost) @ fleet.count)
    missing = prices.bound - known if np.isfinite(known) else abs(prices.bound)
    spare = SPARE_PARTS * missing / len(spaces)

    def of_model(m: int) -> Bands | None:
        return bands(spaces[m], prices.device, float(prices.rate[m]), float(most_rps[m]), spare, deadline)

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(of_model, range(len(spaces))))
    priced = [one for one in found if one is not None]
    if len(priced) < len(found):
        return prices.bound

    def least(z: float) -> float:
        return sum(
            least_cover(one, float(weight) * z) for one, weight in zip(priced, fleet.weight, strict=True)
        )

    if not throughput:
        return min(prices.bound, worth - least(1.0))
    low, high = max(known, 0.0), prices.bound
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        if least(middle) > worth * (1 + 1e-9):
            high = middle
        else:
            low = middle
    return high


def bands(
    space: TemplateSpace,
    device_price: F64,
    request_price: float,
    most_rps: float,
    spare: float,
    deadline: float,
) -> Bands | None:
    """The bands of one model up to ``most_rps``. None if the ``deadline`` passes.

    ``request_price``: no template serves a request per second for less. A pipeline whose workers cost ``spare`` more
    than that is not priced exactly: it counts as costing just so much.
    """
    count = int(np.ceil(np.log(1.0 / LOWEST) / np.log1p(BAND)))
    ends = most_rps * (1.0 + BAND) ** -np.arange(count, -1.0, -1.0)
    lower, upper = ends[:-1], ends[1:]
    arcs = space.arcs
    share, price = space.share[arcs.unit], device_price[space.device_class[arcs.unit]]
    can_run = np.isfinite(arcs.device_us)
    # Workers that a request per second keeps busy.
    busy = np.where(can_run, arcs.device_us * share, 0.0) / US_PER_S
    worker_price = np.where(can_run, price / share, np.inf)

    def least_price(rate_rps: float, most: float) -> float:
        least = most
        for batch in space.batches.tolist():
            # As the planner counts them, a rounding error never adds a worker.
            workers = np.maximum(np.ceil(rate_rps * busy[batch - 1] - 1e-9), arcs.pieces)
            graph = space.graph(
                batch, np.where(can_run[batch - 1], workers * worker_price[batch - 1], np.inf), least
            )
            least = min(least, least_cost(graph, completions(graph)))
        return least

    smallest = least_price(0.0, request_price * most_rps + spare)
    spare = min(spare, SPARE_SMALLEST * smallest + SPARE_SHARE * request_price * most_rps)
    found = np.empty(len(upper))
    most = np.inf
    for k in range(len(upper) - 1, -1, -1):
        if solving_seconds() > deadline:
            return None
        # A lower rate costs no more.
        most = least_price(float(lower[k]), min(most, request_price * float(upper[k]) + spare))
        found[k] = most
    return Bands(upper, found, smallest, max(request_price, smallest / float(lower[0])))


def least_cover(bands: Bands, rate_rps: float) -> float:
    """No pipelines of the bands serve ``rate_rps`` for less."""
    cells = np.ceil(np.minimum(bands.serves_rps / rate_rps, 1.0) * CELLS + 1e-9).astype(np.int64)
    # Of all bands that fill as many cells, the cheapest; more cells are never dearer.
    price = np.full(CELLS + 2, np.inf)
    np.minimum.at(price, cells, bands.price)
    price = np.minimum.accumulate(price[::-1])[::-1]
    distinct = np.unique(np.minimum(cells, CELLS))
    least = _least_covers(distinct, price[distinct])
    # Small pipelines fill whole cells and a part of one more; that part is free here.
    small = np.maximum(bands.smallest, bands.unit_price * rate_rps / CELLS * np.arange(CELLS))
    return float(min(least[CELLS], (small + least[CELLS - 1 :: -1]).min()))


@compiled(nogil=True)
def _least_covers(size: I64, price: F64) -> F64:
    """The least price of items, each as often as wanted, that fill at least so many cells: (:data:`CELLS` + 1,)."""
    least = np.zeros(CELLS + 1)
    for cells in range(1, CELLS + 1):
        best = np.inf
        for k in range(len(size)):
            best = min(best, price[k] + least[max(cells - size[k], 0)])
        least[cells] = best
    return least
