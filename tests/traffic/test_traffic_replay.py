"""Fold and superpose: every arrival counted, every stream as it was, the rate exact."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from trace_files import toy_trace

from penstock.errors import BadInputError
from penstock.traffic.arrivals import draw_arrivals
from penstock.traffic.processes.replay import TraceReplay
from penstock.traffic.scaling.fold import fold
from penstock.traffic.scaling.superpose import superpose
from penstock.traffic.trace import Labels, Trace, closed_to_a_circle

RNG = np.random.default_rng
quick = settings(max_examples=60, deadline=None)


@st.composite
def traces(draw, *, with_streams=False):
    times = sorted(draw(st.lists(st.integers(0, 999), min_size=1, max_size=25)))
    streams = None
    if with_streams or draw(st.booleans()):
        streams = draw(st.lists(st.integers(0, 3), min_size=len(times), max_size=len(times)))
    return toy_trace(times, draw(st.integers(times[-1] + 1, 2_000)), streams)


def test_fold_by_hand():
    """Circle of 100 folded to 50: 10, 60 and 70 fall on 10, 10 and 20."""
    trace = toy_trace([10, 60, 70], 100)
    assert fold(trace, 2.0, 50, RNG(0), start_us=0).tolist() == [10, 10, 20]
    assert fold(trace, 2.0, 50, RNG(0), start_us=15).tolist() == [5, 45, 45]
    assert fold(trace, 2.0, 120, RNG(0), start_us=0).tolist() == [10, 10, 20, 60, 60, 70, 110, 110]
    # Folded to a circle of 40: 10, 20, 30.
    assert fold(trace, 2.5, 40, RNG(0), start_us=0).tolist() == [10, 20, 30]


@quick
@given(st.data(), st.integers(1, 8), st.integers(1, 300), st.integers(0, 10_000), st.integers(1, 5))
def test_each_round_of_a_folded_circle_has_every_arrival_once(data, factor, circle_us, start_us, rounds):
    period_us = factor * circle_us
    times = sorted(data.draw(st.lists(st.integers(0, period_us - 1), min_size=1, max_size=25)))
    folded = fold(toy_trace(times, period_us), factor, rounds * circle_us, RNG(0), start_us=start_us)
    first = [(time_us - start_us) % circle_us for time_us in times]
    assert folded.tolist() == sorted(time_us + lap * circle_us for time_us in first for lap in range(rounds))


@quick
@given(traces(), st.integers(1, 4), st.integers(0, 5_000), st.integers(0, 99))
def test_whole_copies_count_exactly(trace, copies, start_us, seed):
    """A window of whole rounds holds every row of every copy that often, from wherever it begins."""
    drawn = superpose(trace, float(copies), 2 * trace.period_us, RNG(seed), start_us=start_us)
    assert len(drawn.time_us) == 2 * copies * len(trace)
    seen = np.bincount(drawn.copy * len(trace) + drawn.row, minlength=copies * len(trace))
    assert seen.tolist() == [2] * (copies * len(trace))
    first = drawn.time_us[drawn.copy == 0] + start_us % trace.period_us
    rounds = [trace.time_us + lap * trace.period_us for lap in range(4)]
    unrolled = np.concatenate(rounds)
    begin = start_us % trace.period_us
    inside = unrolled[(unrolled >= begin) & (unrolled < begin + 2 * trace.period_us)]
    assert np.array_equal(np.sort(first), inside)


@quick
@given(traces(with_streams=True), st.floats(0.05, 5.0), st.integers(1, 4_000), st.integers(0, 99))
def test_streams_keep_their_order_and_think_times(trace, factor, window_us, seed):
    assume(len(trace.stream.names) > 1)  # a fraction of a single stream is thinned
    drawn = superpose(trace, factor, window_us, RNG(seed))
    assert np.all((drawn.time_us >= 0) & (drawn.time_us < window_us))
    assert np.all(np.diff(drawn.time_us) >= 0)
    stream = trace.stream.codes[drawn.row]
    for copy, code in {*zip(drawn.copy.tolist(), stream.tolist(), strict=True)}:
        mine = (drawn.copy == copy) & (stream == code)
        rows = np.flatnonzero(trace.stream.codes == code)
        # Successive arrivals of the stream are successive rows of it on the circle, their gap that of the recording.
        place = np.searchsorted(rows, drawn.row[mine])
        gaps = np.diff(trace.time_us[rows], append=trace.time_us[rows[0]] + trace.period_us)
        assert np.all(np.diff(place) % len(rows) == 1 % len(rows))
        assert np.array_equal(np.diff(drawn.time_us[mine]), gaps[place[:-1]])


@quick
@given(traces(), st.integers(0, 99))
def test_replay_at_its_own_rate_from_the_beginning_is_the_recording(trace, seed):
    replay = TraceReplay(trace, "superpose", start_s=0.0)
    again = replay(trace.rate_rps, trace.period_us / 1e6, RNG(seed))
    assert np.array_equal(again, trace.time_us)


@pytest.mark.parametrize("scale", ["fold", "superpose"])
@pytest.mark.parametrize("streams", [None, [0, 1, 1, 1, 0, 2]])
@pytest.mark.parametrize("factor", [0.3, 2.6])
@pytest.mark.parametrize("seconds", [0.0004, 0.0031])
def test_mean_rate_is_exact(scale, streams, factor, seconds):
    trace = toy_trace([0, 10, 11, 12, 500, 900], 1_000, streams)
    rate_rps = factor * trace.rate_rps
    rng = RNG(11)
    counts = [len(TraceReplay(trace, scale)(rate_rps, seconds, rng)) for _ in range(1_500)]
    assert np.mean(counts) == pytest.approx(
        rate_rps * seconds, abs=4 * np.std(counts) / np.sqrt(len(counts)) + 1e-9
    )


def test_a_fraction_takes_whole_streams_of_all_sizes():
    """Of eight streams of sizes 1 to 8, half a copy has four: one of each neighbouring pair in size."""
    sizes = np.arange(1, 9)
    codes = np.repeat(np.arange(8), sizes)
    trace = toy_trace(list(range(36)), 36, codes.tolist())
    for seed in range(20):
        drawn = superpose(trace, 0.5, 36, RNG(seed))
        found = np.bincount(trace.stream.codes[drawn.row], minlength=8)
        assert {*found} <= {0, *sizes}
        taken = found > 0
        assert np.array_equal(found[taken], sizes[taken])
        assert taken.reshape(4, 2).sum(axis=1).tolist() == [1] * 4


def test_models_get_independent_arrivals_of_one_trace():
    trace = toy_trace(sorted(RNG(0).integers(0, 10**9, 2_000).tolist()), 10**9)
    drawn = draw_arrivals(TraceReplay(trace), [2.0, 2.0], 200.0, RNG(3))
    one, two = (drawn.arrival_us[drawn.model == model] for model in (0, 1))
    assert len(one) > 300
    assert np.intersect1d(one, two).size <= 5  # by chance, to the microsecond, none
    both = draw_arrivals(TraceReplay(trace, start_s=0.0), [2.0, 2.0], 200.0, RNG(3))
    assert np.array_equal(both.arrival_us[both.model == 0], both.arrival_us[both.model == 1])


def test_bad_draws():
    replay = TraceReplay(toy_trace([0, 1], 10**12))
    assert len(replay(0.0, 1.0, RNG(0))) == 0
    with pytest.raises(BadInputError, match="denser trace"):
        replay(1_000.0, 1.0, RNG(0))
    with pytest.raises(BadInputError, match="rate_rps"):
        replay(-1.0, 1.0, RNG(0))


@quick
@given(st.lists(st.integers(-(10**6), 10**6), min_size=2, max_size=30).filter(lambda t: len({*t}) > 1))
def test_circle_is_closed_by_the_mean_gap_of_different_times(times):
    order = [str(index) for index in range(len(times))]
    trace = closed_to_a_circle(np.array(times), {"type": Labels(np.arange(len(times)), tuple(order))})
    assert np.array_equal(trace.time_us, np.sort(times) - min(times))
    assert [times[code] for code in trace.type_.codes] == sorted(times)
    span = max(times) - min(times)
    assert trace.period_us - span == pytest.approx(span / (len({*times}) - 1), abs=0.5 + 1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (partial(toy_trace, [], 1), "no arrivals"),
        (partial(toy_trace, [2, 1], 3), "in order"),
        (partial(toy_trace, [3], 3), "lie in"),
        (partial(toy_trace, [1], 3, [0, 0]), "stream has 2 rows for 1 times"),
    ],
)
def test_bad_traces(make, message):
    with pytest.raises(BadInputError, match=message):
        make()


def test_rate_of_a_trace_is_arrivals_over_its_period():
    assert Trace(np.array([0, 1]), 4_000_000).rate_rps == 0.5
