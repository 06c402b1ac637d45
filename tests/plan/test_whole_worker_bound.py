"""The bound that knows whole workers: by hand, against exhaustive enumeration, and against exact plans."""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan_columns import space_of, spaces
from toy_plans import toy_profile

from penstock.cluster import DeviceClass
from penstock.plan.exact.listed_search import search
from penstock.plan.exact.objective import devices_used, model_rates, value_of
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.cheapest_covers import CELLS, CoverFinder, worker_price
from penstock.plan.large.column_generation import relax_spaces
from penstock.plan.large.near_covers import near_covers
from penstock.plan.large.priced_search import search_spaces
from penstock.plan.large.whole_covers import whole_covers
from penstock.plan.large.whole_worker_bound import whole_worker_bound
from penstock.plan.large.whole_worker_kernels import cheapest_covers, cheapest_pipelines, exchange_pairs
from penstock.plan.templates.fleet import Fleet, Prices
from penstock.plan.templates.table import join, list_templates

NEVER = math.inf


def bound_of(made, fleet, known=-math.inf):
    prices = relax_spaces(made, fleet, gap=1e-9).prices
    return prices.bound, whole_worker_bound(made, fleet, prices, known, NEVER).bound


def ten_a_second(models=2):
    """Models of one block that takes 100 ms: a worker serves 10 requests a second."""
    profile = toy_profile("m", {("a", 1): [[100_000]]})
    return [space_of(profile, {"a": DeviceClass(count=3)}, 1e6, model=m) for m in range(models)]


def test_three_devices_for_two_models_serve_ten_of_each():
    split, whole = bound_of(ten_a_second(), Fleet(np.array([3]), np.ones(2)))
    assert split == pytest.approx(15.0)
    assert 10.0 <= whole <= 10.0 + 15.0 * 2 / CELLS


def test_two_demands_of_fifteen_cost_four_devices():
    fleet = Fleet(np.array([9]), np.array([15.0, 15.0]), hourly_cost=np.array([2.0]))
    split, whole = bound_of(ten_a_second(), fleet)
    assert (split, whole) == (pytest.approx(-6.0), pytest.approx(-8.0))


def test_a_bound_below_a_known_plan_is_not_looked_for():
    assert bound_of(ten_a_second(), Fleet(np.array([3]), np.ones(2)), known=12.0)[1] == pytest.approx(12.0)


def test_if_time_ends_the_relaxation_stays():
    made, fleet = ten_a_second(), Fleet(np.array([3]), np.ones(2))
    prices = relax_spaces(made, fleet).prices
    assert whole_worker_bound(made, fleet, prices, 0.0, -1.0).bound == prices.bound


@given(
    st.lists(st.tuples(st.integers(1, 60), st.floats(0.1, 5.0)), min_size=1, max_size=5), st.integers(1, 100)
)
@settings(deadline=None, max_examples=20)
def test_covers_are_the_cheapest_multiset(items, cells):
    """Against the recursion over the first item, without a table."""
    size, price = np.array([size for size, _ in items]), np.array([price for _, price in items])

    @functools.cache
    def least_of(need):
        return min((one + least_of(need - fills) for fills, one in items), default=0.0) if need > 0 else 0.0

    least, last = cheapest_covers(size, price, cells)
    assert least[cells] == pytest.approx(least_of(cells))
    left, paid = cells, 0.0
    while left > 0:
        paid += price[last[left]]
        left -= size[last[left]]
    assert paid == pytest.approx(least[cells])


@given(
    spaces(),
    st.lists(st.floats(0.2, 3.0), min_size=3, max_size=3),
    st.lists(st.floats(0.5, 1.5), min_size=3, max_size=3),
    st.lists(st.tuples(st.integers(0, 10**6), st.floats(0.02, 1.0)), min_size=1, max_size=4),
    st.sampled_from([1, 3, 500]),
)
@settings(deadline=None, max_examples=25)
def test_no_pipelines_serve_a_rate_for_less_than_its_price(made, price, other, chosen, most_listed):
    """Any pipelines of any templates, few of which are listed, at the prices of the listing and at others."""
    [space] = made
    templates = list_templates(space)
    if not len(templates):
        return
    device_price = np.array(price[: space.sample_us.shape[1]])
    split = (worker_price(templates, device_price) / templates.worker_rps).sum(axis=1)
    most_rps = 7.0 * float(templates.worker_rps.min())
    prices = Prices(math.nan, device_price, np.array([split.min()]))
    finder = CoverFinder.of(space, prices, most_rps, most_listed)
    for asked in (device_price, device_price * np.array(other[: len(device_price)])):
        per_worker = worker_price(templates, asked)
        rate = paid = 0.0
        for row, part in chosen:
            t = row % len(templates)
            used = templates.device_class[t] >= 0
            workers = np.maximum(np.ceil(part * most_rps / templates.worker_rps[t] - 1e-9), 1.0) * used
            rate += float((workers[used] * templates.worker_rps[t][used]).min())
            paid += float(workers @ per_worker[t])
        covers = finder.at(asked)
        assert covers.price_of(min(rate, most_rps)) <= paid * (1 + 1e-9)
        if most_listed == 500 and len(finder.templates) == len(templates):
            # All are listed, so the price is that of a cover, but for rates that are rounded up to cells.
            pipelines = covers.cheapest(most_rps)
            cheapest = float((finder.workers(pipelines) * worker_price(finder.templates, asked)).sum())
            assert covers.price_of(most_rps) <= cheapest * (1 + 1e-9)
            served = model_rates(finder.templates, finder.workers(pipelines), 1)[0]
            assert served >= most_rps * (1 - len(pipelines) / CELLS - 1e-9)


@given(spaces(), st.integers(0, 10**6), st.floats(0.02, 1.0))
@settings(deadline=None, max_examples=20)
def test_a_pipeline_counts_with_no_fewer_cells_than_it_fills(made, row, part):
    templates = list_templates(made[0])
    if not len(templates):
        return
    price = np.where(templates.device_class >= 0, 1.0 / np.maximum(templates.share, 1), 0.0)
    most_rps, cells = 7.0 * float(templates.worker_rps.min()), 50
    found = cheapest_pipelines(templates.worker_rps, price, templates.pieces, 0.0, np.inf, most_rps, cells)
    t = row % len(templates)
    used = templates.device_class[t] >= 0
    workers = np.maximum(np.ceil(part * most_rps / templates.worker_rps[t][used] - 1e-9), 1.0)
    rate = min(float((workers * templates.worker_rps[t][used]).min()), most_rps)
    at_least = math.ceil(rate / most_rps * cells - 1e-6)
    assert found.price[at_least:].min() <= float(workers @ price[t][used]) * (1 + 1e-9)


def test_what_is_not_listed_costs_what_it_must():
    """One listed template serves 10 a second for 1. Any other would cost 3 for each 10, and 0.5 at least."""
    [space] = ten_a_second(1)
    finder = CoverFinder.of(space, Prices(math.nan, np.ones(1), np.array([0.1])), 100.0, 10)
    assert len(finder.templates) == 1
    assert finder.smallest == pytest.approx(1.0)
    assert finder.at(np.ones(1)).price_of(100.0) == pytest.approx(10.0)
    assert finder.at(np.ones(1)).price_of(91.0) == pytest.approx(10.0)
    cheap_outside = replace(finder, far_price=0.3, smallest=0.5)
    # 91 are 9 workers, and 1 outside.
    assert cheap_outside.at(np.ones(1)).price_of(91.0) == pytest.approx(9.5)
    # At half of the price, what is outside may cost a half too.
    assert cheap_outside.at(np.full(1, 0.5)).price_of(91.0) == pytest.approx(4.75)


def test_pairs_are_exchanged_until_all_fits():
    """Three models, two classes of 4 devices. Only (3, 1), (1, 2), (0, 1) fit together; the start does not."""
    use = np.array([[4.0, 0], [3, 1], [0, 4], [2, 2.5], [1, 2], [2, 1], [0, 1], [1, 0]])
    first = np.array([0, 3, 5, 8])
    chosen, missing = exchange_pairs(use, first, np.full(2, 4.0), np.ones(2), first[:-1].copy(), 200, 0)
    assert missing == 0
    assert (use[chosen].sum(axis=0) <= 4).all()
    _, missing = exchange_pairs(use, first, np.full(2, 3.0), np.ones(2), first[:-1].copy(), 200, 0)
    fewest = min(
        np.maximum(use[list(one)].sum(axis=0) - 3.0, 0.0).sum()
        for one in itertools.product(range(3), range(3, 5), range(5, 8))
    )
    assert missing == pytest.approx(fewest)


@given(
    spaces(models=2), st.lists(st.integers(1, 6), min_size=3, max_size=3), st.floats(0.3, 3.0), st.booleans()
)
@settings(deadline=None, max_examples=15)
def test_chosen_covers_are_a_plan_within_the_fleet(made, count, weight, shares_devices):
    if not all(len(list_templates(space)) for space in made):
        return
    classes = made[0].sample_us.shape[1]
    fleet = Fleet(np.array(count[:classes]), np.array([1.0, weight]), share_devices=shares_devices)
    prices = relax_spaces(made, fleet, gap=1e-9).prices
    whole = whole_worker_bound(made, fleet, prices, 0.0, NEVER)
    near = [
        near_covers(finder, fleet, whole.device_price, [finder.most_rps * 0.5], 0) for finder in whole.finders
    ]
    for finder, covers in zip(whole.finders, near, strict=True):
        for k in range(0, len(covers.devices), 50):
            workers = finder.workers(covers.pipelines(k))
            assert model_rates(finder.templates, workers, 2).sum() >= covers.rate_rps[k] * (1 - 1e-9)
            assert (devices_used(finder.templates, workers, fleet) <= np.ceil(covers.devices[k] - 1e-9)).all()
    found = whole_covers(whole.finders, fleet, whole.device_price, 0.0, SearchLimits(1e-3, 20.0), whole.bound)
    if found is not None:
        assert (devices_used(*found, fleet) <= fleet.count).all()
        assert 0.0 < value_of(*found, fleet) <= whole.bound * (1 + 1e-9)


@given(
    spaces(models=2), st.lists(st.integers(1, 3), min_size=3, max_size=3), st.floats(0.3, 3.0), st.booleans()
)
@settings(deadline=None, max_examples=10)
def test_no_exact_plan_passes_it(made, count, weight, shares_devices):
    listed = [list_templates(space) for space in made]
    if not all(len(part) for part in listed):
        return
    classes = made[0].sample_us.shape[1]
    fleet = Fleet(np.array(count[:classes]), np.array([1.0, weight]), share_devices=shares_devices)
    exact = search(join(listed), fleet, SearchLimits(gap=0.0, time_limit_s=20.0))
    split, whole = bound_of(made, fleet)
    assert whole <= split
    assert whole >= exact.value * (1 - 1e-6)
    # The search that uses it states no bound below the best plan either.
    assert search_spaces(made, fleet, SearchLimits(gap=1e-3, time_limit_s=5.0)).bound >= exact.value * (
        1 - 1e-6
    )


@given(spaces(models=2), st.lists(st.floats(0.1, 5.0), min_size=3, max_size=3), st.floats(1.0, 300.0))
@settings(deadline=None, max_examples=8)
def test_no_exact_plan_is_cheaper(made, costs, demand):
    listed = [list_templates(space) for space in made]
    if not all(len(part) for part in listed):
        return
    classes = made[0].sample_us.shape[1]
    fleet = Fleet(
        np.full(classes, 3),
        np.array([1.0, 0.5]) * demand,
        hourly_cost=np.array(costs[:classes]),
        share_devices=True,
    )
    exact = search(join(listed), fleet, SearchLimits(gap=0.0, time_limit_s=20.0))
    if exact.found:
        split, whole = bound_of(made, fleet)
        assert exact.value * (1 + 1e-6) <= whole <= split
