"""The bound that knows whole workers: by hand, against exhaustive enumeration, and against exact plans."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_plan_columns import space_of, spaces
from toy_plans import toy_profile

from penstock.cluster import DeviceClass
from penstock.plan.exact.listed_search import search
from penstock.plan.interfaces import SearchLimits
from penstock.plan.large.column_generation import relax_spaces
from penstock.plan.large.priced_search import search_spaces
from penstock.plan.large.whole_worker_bound import BAND, Bands, bands, least_cover, tightened
from penstock.plan.templates.fleet import Fleet
from penstock.plan.templates.table import join, list_templates

NEVER = math.inf


def bound_of(made, fleet, known=-math.inf):
    prices = relax_spaces(made, fleet, gap=1e-9).prices
    return prices.bound, tightened(made, fleet, prices, known, NEVER)


def ten_a_second(models=2):
    """Models of one block that takes 100 ms: a worker serves 10 requests a second."""
    profile = toy_profile("m", {("a", 1): [[100_000]]})
    return [space_of(profile, {"a": DeviceClass(count=3)}, 1e6, model=m) for m in range(models)]


def test_three_devices_for_two_models_serve_ten_of_each():
    split, whole = bound_of(ten_a_second(), Fleet(np.array([3]), np.ones(2)))
    assert split == pytest.approx(15.0)
    assert 10.0 <= whole <= 10.0 * (1 + 2 * BAND)


def test_two_demands_of_fifteen_cost_four_devices():
    fleet = Fleet(np.array([9]), np.array([15.0, 15.0]), hourly_cost=np.array([2.0]))
    split, whole = bound_of(ten_a_second(), fleet)
    assert (split, whole) == (pytest.approx(-6.0), pytest.approx(-8.0))


def test_a_bound_below_a_known_plan_is_not_looked_for():
    assert bound_of(ten_a_second(), Fleet(np.array([3]), np.ones(2)), known=12.0)[1] == pytest.approx(12.0)


def test_if_time_ends_the_relaxation_stays():
    made, fleet = ten_a_second(), Fleet(np.array([3]), np.ones(2))
    prices = relax_spaces(made, fleet).prices
    assert tightened(made, fleet, prices, 0.0, -1.0) == prices.bound


@given(st.lists(st.tuples(st.floats(0.3, 1.2), st.floats(0.1, 5.0)), min_size=1, max_size=5))
@settings(deadline=None, max_examples=10)
def test_covers_are_the_cheapest_multiset(items):
    """Every choice of up to four items. Rounding up to cells makes a cover cheaper, but only if rates nearly fit."""
    ordered = sorted(items)

    def least_of(rate):
        return min(
            sum(price for _, price in chosen)
            for n in range(1, 5)
            for chosen in itertools.combinations_with_replacement(ordered, n)
            if sum(serves for serves, _ in chosen) >= rate
        )

    found = least_cover(Bands(*np.array(ordered).T, 1e9, 1e9), 1.0)
    assert least_of(0.998) * (1 - 1e-9) <= found <= least_of(1.0) * (1 + 1e-9)


@given(spaces(), st.lists(st.floats(0.1, 3.0), min_size=3, max_size=3), st.floats(0.01, 1.0))
@settings(deadline=None, max_examples=10)
def test_no_template_serves_a_rate_for_less_than_its_band(made, price, part):
    [space] = made
    templates = list_templates(space)
    if not len(templates):
        return
    device_price = np.array(price[: space.sample_us.shape[1]])
    used = templates.device_class >= 0
    per_worker = np.where(used, device_price[templates.device_class] / np.maximum(templates.share, 1), 0.0)
    request_price = float((per_worker / np.where(used, templates.worker_rps, np.inf)).sum(axis=1).min())
    most_rps = 7.0 * float(templates.worker_rps.min())
    found = bands(space, device_price, request_price, most_rps, 1e3, NEVER)
    rate = part * most_rps
    band = int(np.searchsorted(found.serves_rps, rate))
    workers = np.where(used, np.maximum(np.ceil(rate / templates.worker_rps - 1e-9), 1.0), 0.0)
    cheapest = float((workers * per_worker).sum(axis=1).min())
    if rate <= found.serves_rps[0] / (1 + BAND):
        assert cheapest >= max(found.smallest, found.unit_price * rate) * (1 - 1e-9)
        return
    assert found.price[band] <= cheapest * (1 + 1e-9)
    # A band is narrow: its price is that of some template at a rate half a per cent lower.
    lower = np.where(used, np.ceil(rate / (1 + BAND) / templates.worker_rps * (1 - 2e-9)), 0.0)
    assert found.price[band] >= float((lower * per_worker).sum(axis=1).min()) * (1 - 1e-9)


def test_small_pipelines_cost_one_of_them_at_least():
    """A pipeline of 0.9 for 1, and small ones: any for 0.5, each request per second for 2."""
    found = Bands(np.array([0.9]), np.array([1.0]), 0.5, 2.0)
    assert least_cover(found, 0.9) == pytest.approx(1.0)
    assert least_cover(found, 1.0) == pytest.approx(1.5)
    assert least_cover(found, 1.3) == pytest.approx(1.8, rel=1e-3)
    assert least_cover(found, 0.3) == pytest.approx(0.6, rel=1e-3)


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
