"""Measures of fidelity, by hand and against what they must be for like and unlike samples."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_samples import streams_of

from penstock.errors import BadInputError
from penstock.traffic.fidelity import score_streams
from penstock.traffic.fidelity.boosted_trees import area_under_curve, fit_boosted_trees
from penstock.traffic.fidelity.distances import largest_cdf_distance, mix, rank_correlation
from penstock.traffic.fidelity.memorisation import memorised_share, whole_copies
from penstock.traffic.fidelity.sojourns import Stays, stays_by_state
from penstock.traffic.machine import known_machine
from penstock.traffic.streams import select_streams, split_streams
from penstock.traffic.truth import simulate_truth

values = st.lists(st.integers(0, 5), min_size=1, max_size=8)


def test_cdf_distance_by_hand():
    # At 2 the first has reached 2/3 and the second 0; at 3 both are at 1 and 1/2.
    assert largest_cdf_distance([1, 2, 3], [3, 4]) == pytest.approx(2 / 3)
    assert largest_cdf_distance([1, 2], [1, 2, 1, 2]) == 0.0


@given(values, values)
def test_cdf_distance_is_the_largest_over_all_places(a, b):
    expected = max(abs(np.mean(np.array(a) <= x) - np.mean(np.array(b) <= x)) for x in range(6))
    assert largest_cdf_distance(a, b) == pytest.approx(expected)


def test_rank_correlation_by_hand():
    assert rank_correlation(np.array([1.0, 5, 9]), np.array([2.0, 3, 100])) == pytest.approx(1.0)
    # Ranks 1, 2.5, 2.5 against 1, 2, 3: covariance 0.5, variances 0.5 and 2/3.
    assert rank_correlation(np.array([1.0, 5, 5]), np.array([1.0, 2, 3])) == pytest.approx(
        0.5 / np.sqrt(0.5 * 2 / 3)
    )
    assert rank_correlation(np.array([1.0, 1]), np.array([1.0, 2])) == 0.0


def test_stays_have_both_ends():
    lte = known_machine("lte")
    rows = [
        ("S1_CONN_REL", 1),
        ("SRV_REQ", 4),
        ("HO", 6),
        ("S1_CONN_REL", 9),
        ("TAU", 10),
        ("SRV_REQ", 20),
        ("SRV_REQ", 21),
    ]
    broken = [("SRV_REQ", 0), ("SRV_REQ", 5), ("S1_CONN_REL", 7), ("SRV_REQ", 8)]
    found = stays_by_state(streams_of(rows, broken), lte)
    # The first release may close an update in IDLE: no begin is seen. A broken event makes the begin unknown.
    assert (found["IDLE"].length_us / 1e6).tolist() == [11, 1]
    assert found["IDLE"].stream.tolist() == [0, 1]
    assert (found["CONNECTED"].length_us / 1e6).tolist() == [5]
    gaps = stays_by_state(streams_of(rows), None)
    assert (gaps["before SRV_REQ"].length_us / 1e6).tolist() == [3, 10, 1]


def test_lag_1_pairs_stay_within_a_stream():
    # Each stream alternates 1, 2, 1, 2, ...: neighbours are opposite. Pairs across streams would add like ones.
    lengths = np.tile([1, 2, 1, 2], 60)
    stays = Stays(lengths, np.repeat(np.arange(60), 4))
    assert stays.lag_1() == pytest.approx(-1.0)
    assert Stays(lengths[:8], np.repeat([0, 1], 4)).lag_1() is None


def test_area_under_curve_counts_pairs():
    score, label = np.array([0.1, 0.5, 0.5, 0.9]), np.array([0.0, 1, 0, 1])
    pairs = [(a, b) for a, b in itertools.product(range(4), repeat=2) if label[a] == 1 and label[b] == 0]
    expected = np.mean(
        [1.0 if score[a] > score[b] else 0.5 if score[a] == score[b] else 0.0 for a, b in pairs]
    )
    assert area_under_curve(score, label) == expected == 0.875


def test_trees_learn_what_no_single_feature_shows():
    rng = np.random.default_rng(1)
    features = rng.random((4000, 3))
    label = ((features[:, 0] > 0.5) ^ (features[:, 1] > 0.5)).astype(
        np.float64
    )  # each feature alone says nothing
    features[rng.random(features.shape) < 0.05] = np.nan
    trees = fit_boosted_trees(features[:2000], label[:2000], trees=40)
    assert area_under_curve(trees.predict(features[2000:]), label[2000:]) > 0.95
    noise = rng.integers(0, 2, 4000).astype(np.float64)
    trees = fit_boosted_trees(features[:2000], noise[:2000], trees=40)
    assert area_under_curve(trees.predict(features[2000:]), noise[2000:]) == pytest.approx(0.5, abs=0.05)


def test_memorisation():
    rng = np.random.default_rng(2)
    training = streams_of(
        *[[("ab"[i % 2], t) for i, t in enumerate(np.cumsum(rng.lognormal(2, 2, 20)))] for _ in range(50)]
    )
    fresh = streams_of(
        *[[("ab"[i % 2], t) for i, t in enumerate(np.cumsum(rng.lognormal(2, 2, 20)))] for _ in range(50)]
    )
    copied = select_streams(training, np.arange(25))
    assert memorised_share(copied, training) == 1.0
    assert memorised_share(fresh, training) < 0.05
    assert whole_copies(copied, training) == 25
    assert whole_copies(fresh, training) == 0
    assert memorised_share(streams_of([("a", 1), ("b", 2)]), training) is None


def test_copies_are_counted_by_length():
    one, two, three = [("a", 1)], [("a", 1), ("b", 2)], [("a", 1), ("b", 2), ("a", 5)]
    moved = [("a", 11), ("b", 12), ("a", 15)]  # the same from its own begin
    late = [("a", 1), ("b", 2), ("a", 5.002)]
    training = streams_of(one, two, three)
    drawn = streams_of(one, two, moved, late)
    assert whole_copies(drawn, training) == 2
    assert whole_copies(drawn, training, fewest=3) == 1
    assert whole_copies(drawn, training, fewest=1) == 2  # a stream of one event has no gap
    scores = score_streams(drawn, training, training=training, with_classifier=False)
    assert scores["whole streams copied"].value == 2 / 4
    assert scores["copied, 3 events or more"].value == 1 / 4
    assert scores["copied, 3 events or more"].truth == 1 / 3


def test_truth_scores_as_truth_and_another_class_does_not():
    machine = known_machine("lte")
    sample = simulate_truth(streams=1_500)
    training, held_out = split_streams(sample, 0.5, 0)
    other = simulate_truth(streams=750, seed=5)
    scores = score_streams(other, held_out, training=training, machine=machine)
    assert scores["streams breaking the machine"].value == 0.0
    # The 1% point of the distance of two samples of n and m is 1.63 sqrt(1/n + 1/m); stays depend on each other.
    assert scores["time in IDLE"].value < 0.025
    assert scores["classifier AUC"].value == pytest.approx(0.5, abs=0.06)
    assert scores["whole streams copied"].value == 0.0
    copied = score_streams(training, held_out, training=training, machine=machine, with_classifier=False)
    assert copied["whole streams copied"].value > 0.99  # streams of one event do not count
    assert copied["memorised 16-grams"].value == 1.0
    assert copied["time in IDLE"].value == copied["time in IDLE"].truth
    poor = score_streams(simulate_truth(streams=750, klass="tablet"), held_out, machine=machine)
    assert poor["classifier AUC"].value > 0.9
    assert poor["event mix"].value > 5 * scores["event mix"].value


def test_samples_of_different_events_are_refused():
    with pytest.raises(BadInputError, match="name different events"):
        score_streams(streams_of([("a", 1)]), streams_of([("b", 1)], [("b", 2)]))


def test_too_few_streams_say_so():
    few = streams_of(*[[("SRV_REQ", 1), ("S1_CONN_REL", 2 + i)] for i in range(10)])
    scores = score_streams(few, few, machine=known_machine("lte"))
    assert scores["classifier AUC"].value is None
    assert scores["classifier AUC"].miss is None
    with pytest.raises(KeyError):
        scores["beauty"]


def test_mix():
    assert mix(streams_of([("a", 0), ("b", 1), ("a", 2), ("a", 3)])).tolist() == [0.75, 0.25]
