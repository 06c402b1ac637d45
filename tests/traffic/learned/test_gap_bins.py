"""Bins of gaps: exact probabilities, atoms, and no edge that is one user's gap."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from random_gru import EDGES

from penstock.errors import BadInputError
from penstock.traffic.generator.bins import (
    FEWEST_IN_BIN,
    FEWEST_OF_PAIR,
    GapBins,
    fit_bins,
    fit_stream_bins,
    plain_slots,
    slots_of,
)
from penstock.traffic.streams import Streams

WINDOW_US = 3_600_000_000


def one_type(gaps, most=256, window_us=WINDOW_US):
    gaps = np.asarray(gaps, np.int64)
    return fit_bins(np.zeros(len(gaps), np.int64), gaps, 1, window_us, most)


def test_the_probabilities_of_all_gaps_in_a_bin_sum_to_one():
    bins = GapBins(EDGES)
    for kind in range(bins.slots):
        for low, high in zip(bins.edges[kind, :-1], bins.edges[kind, 1:], strict=True):
            if high == low or high - low > 100_000:
                continue
            gaps = np.arange(low, high)
            density = np.exp(bins.log_inside(np.full(len(gaps), kind, np.int64), gaps))
            # The density is on log(gap + 1): a whole microsecond has the width log(g + 2) - log(g + 1).
            assert float((density * np.diff(np.log1p(np.arange(low, high + 1)))).sum()) == pytest.approx(1.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, WINDOW_US - 1), min_size=1, max_size=300), st.integers(1, 64))
def test_every_gap_of_the_window_has_a_finite_bin_that_holds_it(gaps, most):
    bins = one_type(gaps, most)
    asked = np.array([*gaps, 0, WINDOW_US - 1], np.int64)
    column = bins.column_of(np.zeros(len(asked), np.int64), asked)
    assert np.all((bins.edges[0, column] <= asked) & (asked < bins.edges[0, column + 1]))
    assert np.isfinite(bins.log_inside(np.zeros(len(asked), np.int64), asked)).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, WINDOW_US - 1), min_size=FEWEST_IN_BIN, max_size=400, unique=True))
def test_a_quantile_bin_of_different_gaps_holds_several_users(gaps):
    inner = one_type(gaps).edges[0]
    counts, _ = np.histogram(gaps, inner)
    # The outermost are the rest below and above; between them each bin holds about its share or more.
    assert (counts[1:-1] >= FEWEST_IN_BIN - 1).all() or len(counts) <= 3


def test_an_atom_has_a_bin_of_its_own():
    gaps = [1_000] * 500 + list(range(2_000, 2_500))
    edges = one_type(gaps, 16).edges[0].tolist()
    assert edges[edges.index(1_000) + 1] == 1_001


def test_the_outermost_edges_are_rounded_outward():
    gaps = np.random.default_rng(0).permutation(np.arange(123_456, 987_654, 17))
    edges = one_type(gaps, 8).edges[0].tolist()
    assert edges[0] == 0 and edges[1] == 120_000
    assert edges[-1] == WINDOW_US and edges[-2] == 990_000


def test_a_type_that_is_rare_or_missing_has_one_bin_for_all():
    assert one_type(np.arange(FEWEST_IN_BIN - 1)).edges.tolist() == [[0, WINDOW_US]]
    bins = fit_bins(np.zeros(100, np.int64), np.arange(100), 2, WINDOW_US, 4)
    assert set(bins.edges[1].tolist()) == {0, WINDOW_US}
    assert bins.usable[1].tolist() == [True] + [False] * (bins.columns - 2) + [True]


def streams_of(events, gaps, kinds=("a", "b", "c")):
    """One long stream after a short one of the type a alone."""
    times = np.concatenate([[5], np.cumsum(gaps)]).astype(np.int64)
    first = np.array([0, 1, len(times)], np.int64)
    event = np.concatenate([[0], events]).astype(np.int16)
    return Streams(event, times, first, np.zeros(2, np.int16), kinds, ("x",), WINDOW_US)


def test_a_frequent_pair_has_bins_of_its_own():
    # c comes 1,000 us and more after a, and 10 us and more after b: half of each.
    rng = np.random.default_rng(0)
    events = np.tile([0, 2, 1, 2], FEWEST_OF_PAIR)
    gaps = np.where(np.arange(len(events)) % 4 == 1, 1_000, 10) + rng.integers(0, 5, len(events))
    streams = streams_of(events, gaps)
    bins = fit_stream_bins(streams, 16)
    after_a, after_b = bins.slot_of[1, 2], bins.slot_of[2, 2]
    assert len({after_a, after_b, 2, 5}) == 4
    assert bins.edges[after_a][1] == 1_000 and bins.edges[after_b][1] == 10
    # The law of the type is of both; pairs that are all of their type, or rare, use it.
    assert bins.edges[2][1] == 10 and bins.edges[2][-2] >= 1_000
    assert bins.slot_of[3].tolist() == [0, 1, 2]
    assert bins.slot_of[0].tolist() == [3, 4, 5]
    slots = slots_of(streams, bins.slot_of)
    assert slots[:6].tolist() == [3, 3, after_a, 1, after_b, 0]


def test_a_pair_that_is_not_frequent_has_no_bins_of_its_own():
    events = np.tile([0, 2, 1, 2], FEWEST_OF_PAIR - 1)
    bins = fit_stream_bins(streams_of(events, np.full(len(events), 7)), 16)
    assert np.array_equal(bins.slot_of, plain_slots(3))


def test_tails_are_halved_while_twenty_gaps_are_in_a_half():
    gaps = np.random.default_rng(1).permutation(np.arange(10_000, 30_000))
    edges = one_type(gaps, 16).edges[0]
    counts, _ = np.histogram(gaps, edges)
    # 20,000 / 16 = 1,250 gaps in a bin; the first and last are halved to 625, ... 39, 39.
    assert counts[1:-1].tolist() == pytest.approx(
        [39, 39, 78, 156, 312, 625, *[1250] * 14, 625, 312, 156, 78, 39, 39], abs=2
    )


@pytest.mark.parametrize(
    ("table", "said"),
    [([[0, 1]], "types"), ([[0, 1], [2, 3], [0, 9]], "slots must lie"), ([[0, 1], [2, 3], [0, -1]], "slots")],
)
def test_a_table_of_slots_that_the_kernel_may_not_read_is_refused(table, said):
    with pytest.raises(BadInputError, match=said):
        GapBins(EDGES, np.array(table, np.int64))


@pytest.mark.parametrize("edges", [[[0, 5, 4]], [[3, 3, 3]], [[-1, 5, 6]], [[5]]])
def test_edges_that_do_not_rise_are_refused(edges):
    with pytest.raises(BadInputError):
        GapBins(np.array(edges, np.int64))
