"""Pre-partitioning: cases by hand, an enumeration as oracle, and the published mappings."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadInputError, InfeasibleError
from penstock.partition.prepartition import PUBLISHED_LEVELS, prepartition
from penstock.ppipe.profiles import read_operator_costs, read_profiles
from penstock.result import Status

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "ppipe-artifact"
# The last two of their ten blocks were merged afterwards: the last boundary does not count for them.
MERGED = {
    "atss_r101_fpn_1x_coco",
    "centernet-update_r50-caffe_fpn_ms-1x_coco",
    "fsaf_r101_fpn_1x_coco",
    "gfl_r50_fpn_ms-2x_coco",
    "gfl_x101-32x4d_fpn_ms-2x_coco",
}


def enumerated(latency_us, boundary_bytes, blocks, levels):
    """Least bytes and, among those, the shortest longest share, by trying every choice."""
    rows = [np.asarray(row) / np.sum(row) for row in latency_us.values()]
    n = len(rows[0])
    for lower, upper in levels:
        feasible = []
        for inner in itertools.combinations(range(1, n), blocks - 1):
            ends = (0, *inner, n)
            shares = [row[a:b].sum() for row in rows for a, b in itertools.pairwise(ends)]
            if min(shares) * blocks >= lower - 1e-7 and max(shares) * blocks <= upper + 1e-7:
                feasible.append((sum(int(boundary_bytes[end]) for end in inner), max(shares)))
        if feasible:
            return min(feasible), f"{lower:g}-{upper:g}"
    return None


def test_cheapest_boundary_within_the_limits():
    # Six operators of equal time, 3 blocks of one to three each. Cutting at 2 and 4 is even and costs 7 + 9.
    # The two cheapest boundaries, 1 and 5, would leave four operators in the middle; 1 and 3 cost 1 + 5.
    result = prepartition({"A": np.ones(6)}, np.array([99, 1, 7, 5, 9, 2, 99]), 3, [(0.5, 1.5)])
    assert result.solution == (0, 1, 3, 6)
    assert (result.objective, result.bound, result.gap) == (6, 6, 0)
    assert result.status is Status.OPTIMAL


def test_the_first_feasible_level_is_used_and_named():
    # One operator takes half the time: in two blocks its share is 1.0 x 2/2 at least. 1.2 bars 0.7 of it.
    latency_us = {"A": np.array([1.0, 6.0, 3.0])}
    result = prepartition(latency_us, np.array([0, 5, 5, 0]), 2, [(0.9, 1.1), (0.6, 1.4), (0.1, 2.0)])
    assert result.solution == (0, 2, 3)  # 0.7 and 0.3 of the time: 1.4 and 0.6 even shares
    assert result.stats["level"] == "0.6-1.4"
    assert result.stats["levels_tried"] == 2
    assert result.stats["longest_share"] == pytest.approx(1.4)


def test_every_device_class_must_agree():
    # On A alone the cheap boundary after one operator is even; B takes 0.9 of its time before it.
    boundary = np.array([0, 1, 8, 0])
    a, b = np.array([2.0, 1.0, 1.0]), np.array([9.0, 0.5, 0.5])
    assert prepartition({"A": a}, boundary, 2, [(0.5, 1.5)]).solution == (0, 1, 3)
    with pytest.raises(InfeasibleError, match=r"90.0% of the model's time on B"):
        prepartition({"A": a, "B": b}, boundary, 2, [(0.5, 1.5)])


def test_ties_go_to_the_most_even_blocks():
    result = prepartition({"A": np.ones(6)}, np.full(7, 4), 3)
    assert result.solution == (0, 2, 4, 6)


def test_one_block_is_the_whole_model():
    assert prepartition({"A": np.ones(4)}, np.full(5, 9), 1).solution == (0, 4)
    assert prepartition({"A": np.ones(4)}, np.full(5, 9), 1).objective == 0


def test_a_block_exactly_at_its_limit_fits():
    # 0.1 + 0.2 != 0.3 in binary: shares at the limit must not depend on that.
    latency_us = {"A": np.array([0.1, 0.2, 0.3, 0.1, 0.2, 0.3])}
    result = prepartition(latency_us, np.ones(7, dtype=np.int64), 4, [(1.0, 1.0)])
    assert result.solution == (0, 2, 3, 5, 6)


def test_more_blocks_than_operators_names_the_most_there_can_be():
    with pytest.raises(InfeasibleError, match=r"3 operators cannot make 10 blocks.*Ask for 3 blocks"):
        prepartition({"A": np.ones(3)}, np.zeros(4, dtype=np.int64))


def test_one_heavy_operator_is_named_with_the_nearest_number_of_blocks():
    # Operator 7 takes 91 of 110: a share of 0.827 fits 4.0/4 but not 4.0/5.
    latency_us = {"A": np.array([1.0] * 7 + [91.0] + [1.0] * 12)}
    with pytest.raises(InfeasibleError, match=r"operator 7 alone takes 82.7% .* on A") as caught:
        prepartition(latency_us, np.zeros(21, dtype=np.int64))
    fewer = int(str(caught.value).split("blocks=")[1].split(",")[0])
    assert len(prepartition(latency_us, np.zeros(21, dtype=np.int64), fewer).solution) == fewer + 1
    with pytest.raises(InfeasibleError):
        prepartition(latency_us, np.zeros(21, dtype=np.int64), fewer + 1)


def test_classes_that_disagree_are_the_reason_where_no_operator_is():
    latency_us = {"A": np.array([1.0, 1.0, 8.0, 8.0]), "B": np.array([8.0, 8.0, 1.0, 1.0])}
    with pytest.raises(InfeasibleError, match=r"leave no room between operators.* blocks=1,"):
        prepartition(latency_us, np.zeros(5, dtype=np.int64), 2, [(0.9, 1.1)])


@pytest.mark.parametrize(
    ("latency_us", "boundary", "blocks", "levels", "rule"),
    [
        ({}, [0, 0], 1, PUBLISHED_LEVELS, "latency_us is empty"),
        ({"A": [1.0], "B": [1.0, 2.0]}, [0, 0], 1, PUBLISHED_LEVELS, "shapes"),
        ({"A": [[1.0]]}, [0, 0], 1, PUBLISHED_LEVELS, "shapes"),
        ({"A": []}, [0], 1, PUBLISHED_LEVELS, "above 0 in sum"),
        ({"A": [0.0, 0.0]}, [0, 0, 0], 1, PUBLISHED_LEVELS, "above 0 in sum"),
        ({"A": [1.0, -1.0]}, [0, 0, 0], 1, PUBLISHED_LEVELS, "not negative"),
        ({"A": [1.0, float("nan")]}, [0, 0, 0], 1, PUBLISHED_LEVELS, "finite"),
        ({"A": [1.0, 1.0]}, [0, 0], 1, PUBLISHED_LEVELS, "3 boundaries"),
        ({"A": [1.0, 1.0]}, [0, -1, 0], 1, PUBLISHED_LEVELS, ">= 0"),
        ({"A": [1.0, 1.0]}, [0, 0, 0], 0, PUBLISHED_LEVELS, "must be >= 1"),
        ({"A": [1.0, 1.0]}, [0, 0, 0], 1, [], "levels"),
        ({"A": [1.0, 1.0]}, [0, 0, 0], 1, [(1.2, 1.5)], "lower <= 1 <= upper"),
    ],
)
def test_bad_input_states_the_rule(latency_us, boundary, blocks, levels, rule):
    arrays = {name: np.array(row) for name, row in latency_us.items()}
    with pytest.raises(BadInputError, match=rule):
        prepartition(arrays, np.array(boundary), blocks, levels)


@st.composite
def cases(draw):
    n = draw(st.integers(1, 9))
    durations = st.lists(st.integers(0, 20), min_size=n, max_size=n).filter(any)
    rows = draw(st.lists(durations, min_size=1, max_size=3))
    boundary = draw(st.lists(st.integers(0, 5), min_size=n + 1, max_size=n + 1))
    return rows, boundary, draw(st.integers(1, n))


@given(cases())
@settings(max_examples=300, deadline=None)
def test_equals_enumeration(case):
    rows, boundary, blocks = case
    latency_us = {f"class{i}": np.array(row, dtype=float) for i, row in enumerate(rows)}
    expected = enumerated(latency_us, boundary, blocks, PUBLISHED_LEVELS)
    if expected is None:
        with pytest.raises(InfeasibleError):
            prepartition(latency_us, np.array(boundary), blocks)
        return
    (cost, longest), level = expected
    result = prepartition(latency_us, np.array(boundary), blocks)
    ends = result.solution
    assert (ends[0], ends[-1], len(ends)) == (0, len(rows[0]), blocks + 1)
    assert list(ends) == sorted(set(ends))
    assert result.objective == cost == sum(boundary[end] for end in ends[1:-1])
    assert result.stats["level"] == level
    assert result.stats["longest_share"] == pytest.approx(longest * blocks)


@pytest.mark.data
@pytest.mark.skipif(not DATA.is_dir(), reason="reference data ../shared/data/ppipe-artifact is absent")
def test_optimum_equals_the_published_mappings():
    profiles = read_profiles(DATA)
    assert len(profiles) == 28
    for name, profile in profiles.items():
        latency_us, boundary_bytes = read_operator_costs(DATA, name)
        inner = boundary_bytes[list(prepartition(latency_us, boundary_bytes).solution[1:-1])]
        assert len(profile.blocks) == (9 if name in MERGED else 10)
        ours = inner[:-1] if name in MERGED else inner
        assert ours.sum() == sum(profile.boundary_bytes[1:-1]), name
