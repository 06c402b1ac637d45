"""The cutting rule: how many segments, where, and when a cut is kept."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import BadInputError
from penstock.profile.cutting import MOST_SEGMENTS, balanced, choose_cut, wanted_segments


@pytest.mark.parametrize(
    ("model_us", "shortest_us", "segments"),
    [(10, 10, 1), (14, 10, 1), (15, 10, 2), (25, 10, 3), (34, 10, 3), (150, 10, 8), (1e6, 10, 8)],
)
def test_pieces_are_about_as_long_as_the_shortest_model(model_us, shortest_us, segments):
    assert wanted_segments(model_us, shortest_us) == segments
    assert MOST_SEGMENTS == 8


@pytest.mark.parametrize(("model_us", "shortest_us"), [(10, 0), (10, 11), (10, float("nan"))])
def test_a_shortest_model_is_not_longer_than_another(model_us, shortest_us):
    with pytest.raises(BadInputError, match="shortest_us"):
        wanted_segments(model_us, shortest_us)


def test_balanced_by_hand():
    # 4 | 3 + 2 | 5: any other two boundaries leave a group of at least 7.
    assert balanced([4, 3, 2, 5], 3) == (0, 1, 3, 4)
    assert balanced([4, 3, 2, 5], 1) == (0, 4)
    with pytest.raises(BadInputError, match="count"):
        balanced([1, 2], 3)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=8), st.data())
def test_balanced_equals_enumeration(costs, data):
    count = data.draw(st.integers(1, len(costs)))

    def largest(boundaries):
        return max(sum(costs[a:b]) for a, b in pairwise(boundaries))

    found = balanced(costs, count)
    assert len(found) == count + 1 and all(a < b for a, b in pairwise(found))
    inner = combinations(range(1, len(costs)), count - 1)
    assert largest(found) == min(largest((0, *cuts, len(costs))) for cuts in inner)


def _measured(by_count):
    return lambda boundaries: (100.0, 100.0 * (1 + by_count[len(boundaries) - 1]))


def test_the_finest_cut_within_three_percent_is_kept():
    cut, tried = choose_cut([1.0] * 10, 8, _measured({8: 0.05, 4: 0.03, 2: 0.0}))
    assert cut is tried[-1]
    assert [len(each.boundaries) - 1 for each in tried] == [8, 4]
    assert cut.cost == pytest.approx(0.03)


def test_no_cut_if_all_cost_too_much_or_none_is_wanted():
    cut, tried = choose_cut([1.0] * 10, 5, _measured({5: 0.2, 2: 0.031}))
    assert cut is None and [each.is_kept for each in tried] == [False, False]
    assert choose_cut([1.0] * 10, 1, _measured({})) == (None, ())


def test_a_model_of_few_parts_is_cut_no_finer():
    _, tried = choose_cut([1.0, 1.0], 8, _measured({2: 0.0}))
    assert tried[0].boundaries == (0, 1, 2)
