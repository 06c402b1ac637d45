"""Loads made of streams: superposition, what-if, cameras, empirical gaps."""

from __future__ import annotations

import numpy as np
import pytest
from stream_samples import streams_of
from trace_files import write

from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalSource, draw_arrivals
from penstock.traffic.generator.protocol import FitOptions, fit_generator
from penstock.traffic.source.cameras import Cameras
from penstock.traffic.source.empirical_gaps import EmpiricalGaps
from penstock.traffic.source.requests import requests_of
from penstock.traffic.source.superposed import SuperposedStreams, WhatIf, fixed_sampler, refuse_fixed_rate
from penstock.traffic.spec import parse_arrivals
from penstock.traffic.streams import write_streams
from penstock.traffic.truth import simulate_truth

# Two requests in a window of 10 s, three seconds apart; the second stream has one.
PAIR = streams_of([("a", 1), ("a", 4)], [("a", 2)], window_s=10)


def source(streams=PAIR, **what_if):
    per_stream = len(requests_of(streams).time_us) / len(streams)
    return SuperposedStreams(fixed_sampler(streams), streams.window_us, WhatIf(**what_if), per_stream)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_requests_by_name():
    session = streams_of(
        [
            ("follow-up", 0),
            ("open", 1),
            ("infer:a", 2),
            ("follow-up", 3),
            ("switch", 4),
            ("infer:b", 5),
            ("follow-up", 6),
        ],
        [("open", 0), ("close", 1)],
        [("follow-up", 0)],
    )
    found = requests_of(session)
    assert found.names == ("a", "b")
    assert found.first.tolist() == [0, 5, 5, 6]
    # A follow-up before any name is seen has none, and so has one in a stream that names no model.
    assert found.named.tolist() == [-1, 0, 0, 1, 1, -1]
    assert len(requests_of(PAIR).time_us) == 3  # no event is called infer: all are requests


def test_streams_keep_their_order_and_think_times():
    found = source().draw([3.0], 10.0, rng())
    assert isinstance(source(), ArrivalSource)
    for stream in np.unique(found.stream):
        times = found.arrival_us[found.stream == stream]
        assert len(times) in (1, 2)
        if len(times) == 2:
            assert times[1] - times[0] in (3_000_000, 7_000_000)  # the latter went over the seam


def test_the_rate_is_met_in_the_mean():
    # 1.5 requests a stream in 10 s: a rate of 0.4 needs 8/3 streams. Over a window of 4 s: 1.6 requests.
    assert source().streams_for([0.4]) == pytest.approx(8 / 3)
    estimated = SuperposedStreams(fixed_sampler(PAIR), PAIR.window_us)
    assert estimated.streams_for([0.4]) == pytest.approx(8 / 3)
    counts = [len(source().draw([0.4], 4.0, rng(seed))) for seed in range(500)]
    assert np.mean(counts) == pytest.approx(1.6, abs=4 * np.std(counts) / np.sqrt(500))
    assert len(source().draw([0.0], 4.0, rng())) == 0


def test_more_rate_adds_streams_to_those_that_are_there():
    few, many = source().draw([1.5], 10.0, rng(3)), source().draw([15.0], 10.0, rng(3))
    assert set(few.arrival_us.tolist()) <= set(many.arrival_us.tolist())
    again = source().draw([1.5], 10.0, rng(3))
    assert again.arrival_us.tolist() == few.arrival_us.tolist()


def test_a_run_longer_than_the_window_goes_on_with_new_streams():
    found = source().draw([3.0], 25.0, rng())
    per_window = np.bincount(found.arrival_us // 10_000_000, minlength=3)
    assert per_window[:2].tolist() == [30, 30]
    assert len(np.unique(found.stream[found.arrival_us < 10_000_000])) == 20
    assert not set(found.stream[found.arrival_us < 10_000_000]) & set(
        found.stream[found.arrival_us >= 10_000_000]
    )


def test_speed_shortens_think_times_and_needs_fewer_streams():
    assert source(speed=2.0).streams_for([3.0]) == pytest.approx(10.0)
    assert source().streams_for([3.0]) == pytest.approx(20.0)
    found = source(speed=2.0).draw([3.0], 5.0, rng())
    gaps = {
        int(np.diff(found.arrival_us[found.stream == s])[0])
        for s in found.stream
        if np.sum(found.stream == s) == 2
    }
    assert gaps <= {1_500_000, 3_500_000}


def dispersion(arrival_us, window_s):
    counts = np.bincount(arrival_us // round(window_s * 1e6))[:-1]
    return counts.var() / counts.mean()


def test_burst_multiplies_the_index_of_dispersion():
    one = streams_of([("a", 5)], window_s=1000)
    plain = source(one).draw([50.0], 1000.0, rng(1))
    joined = source(one, burst=20).draw([50.0], 1000.0, rng(1))
    assert dispersion(plain.arrival_us, 10) == pytest.approx(
        1.0, abs=0.4
    )  # a stream has one request: Poisson
    assert dispersion(joined.arrival_us, 10) == pytest.approx(20.0, rel=0.35)
    assert len(joined) == len(plain) == 50_000


def test_models_by_stream_and_by_name():
    session = streams_of([("infer:x", 0), ("infer:y", 1), ("follow-up", 2)], window_s=10)
    by_stream = source(session).draw([3.0, 9.0], 10.0, rng())
    assert np.bincount(by_stream.model).tolist() == [30, 90]
    assert all(len(set(by_stream.model[by_stream.stream == s])) == 1 for s in range(40))
    by_name = source(session, by_name=True).draw([3.0, 9.0], 10.0, rng())
    assert np.bincount(by_name.model).tolist() == [40, 80]  # of 120 requests one in three asks x
    with pytest.raises(BadInputError, match=r"the events name the models x, y, but the plan has 3"):
        source(session, by_name=True).draw([1.0, 1.0, 1.0], 10.0, rng())
    total = source(rate_rps=6.0).draw([1.0, 2.0], 10.0, rng())
    assert np.bincount(total.model).tolist() == [pytest.approx(20, abs=2), pytest.approx(40, abs=2)]


def test_a_search_for_the_rate_needs_a_load_without_one():
    refuse_fixed_rate(source())
    with pytest.raises(BadInputError, match=r"fix the load \(at 5 requests a second\)"):
        refuse_fixed_rate(source(rate_rps=5.0))


def test_cameras_send_at_equal_distances_from_phases_of_their_own():
    # Two cameras of 10 frames a second and 2 s: 20 frames each, every 100 ms, from phases below 100 ms.
    frames = Cameras(None, 10.0).draw([20.0], 2.0, rng())
    assert np.bincount(frames.stream).tolist() == [20, 20]
    for camera in range(2):
        times_us = frames.arrival_us[frames.stream == camera]
        assert times_us[0] < 100_000
        assert np.abs(np.diff(times_us) - 100_000).max() <= 1  # rounded to microseconds
    phases = [Cameras(None, 1.0).draw([1.0], 1.0, rng(seed)).arrival_us[0] for seed in range(400)]
    # Uniform over a second: mean 0.5 s, deviation 1/sqrt(12) s, 400 draws.
    assert np.mean(phases) == pytest.approx(500_000, abs=4 * 1e6 / np.sqrt(12 * 400))


def test_cameras_follow_the_rate_or_fix_it():
    load = Cameras(4, None).draw(
        [40.0, 20.0], 5.0, rng()
    )  # four cameras a model, of 10 and 5 frames a second
    assert np.bincount(load.model).tolist() == [200, 100]
    assert np.bincount(load.stream).tolist() == [50] * 4 + [25] * 4
    assert Cameras(4, None).streams_for([40.0, 20.0]) == 8
    assert len(Cameras(None, 10.0).draw([40.0], 5.0, rng())) == 200
    assert Cameras(None, 10.0).streams_for([45.0]) == 4.5
    both = Cameras(
        6, 10.0
    )  # 60 requests a second, two thirds of the cameras for the model with two thirds of the rate
    load = both.draw([2_000.0, 1_000.0], 5.0, rng())
    assert np.bincount(load.model).tolist() == [200, 100]
    assert (both.own_rate_rps(), both.streams_for([2_000.0])) == (60.0, 6.0)
    assert np.bincount(Cameras(3, 1.0).draw([1.0, 1.0], 5.0, rng()).stream).tolist() == [5] * 3
    shares = [np.mean(Cameras(3, 1.0).draw([1.0, 1.0], 5.0, rng(seed)).model) for seed in range(200)]
    assert set(np.round(shares, 3)) == {0.333, 0.667}
    assert len(both.draw([0.0], 5.0, rng())) == 0
    with pytest.raises(BadInputError, match="fix the load \\(at 60 requests a second\\)"):
        refuse_fixed_rate(both)


def test_a_part_of_a_camera_is_a_camera_with_that_probability():
    counts = [len(Cameras(None, 10.0, 0.05).draw([25.0], 2.0, rng(seed))) for seed in range(400)]
    assert np.mean(counts) == pytest.approx(50.0, abs=4 * np.std(counts) / 20)


def test_jitter_makes_a_frame_late_and_never_early():
    exact = Cameras(None, 10.0).draw([10.0], 30.0, rng()).arrival_us
    late = Cameras(None, 10.0, 0.03).draw([10.0], 30.0, rng()).arrival_us
    phase = exact[0]  # the same seed: the same phase
    by_us = (late - phase) % 100_000
    assert by_us.max() <= 30_001
    assert by_us.mean() == pytest.approx(15_000, abs=4 * 30_000 / np.sqrt(12 * 300))


def test_cameras_of_one_model_do_not_change_with_the_rate_of_another():
    first = Cameras(None, 10.0, 0.01).draw([30.0, 40.0], 3.0, rng(5))
    second = Cameras(None, 10.0, 0.01).draw([30.0, 90.0], 3.0, rng(5))
    for load in (first, second):
        assert (np.diff(load.arrival_us) >= 0).all()
    mine = [load.arrival_us[load.model == 0].tolist() for load in (first, second)]
    assert mine[0] == mine[1]
    assert (
        first.arrival_us.tolist()
        != Cameras(None, 10.0, 0.01).draw([30.0, 40.0], 3.0, rng(6)).arrival_us.tolist()
    )


def test_empirical_gaps():
    process = EmpiricalGaps.of(np.array([0, 1, 2, 10]))  # gaps 1, 1, 8, of mean 10/3
    assert process.gap.tolist() == pytest.approx([0.3, 0.3, 2.4])
    counts = [len(process(10.0, 1.0, rng(seed))) for seed in range(600)]
    assert np.mean(counts) == pytest.approx(10.0, abs=4 * np.std(counts) / np.sqrt(600))
    gaps = np.unique(np.round(np.diff(process(10.0, 100.0, rng())) / 1e5, 1))
    assert gaps.tolist() == [0.3, 2.4]
    with pytest.raises(BadInputError, match="all arrivals are at one time"):
        EmpiricalGaps.of(np.array([5, 5]))


def test_specs(tmp_path):
    write_streams(tmp_path / "s.csv", PAIR)
    trace = write(tmp_path / "t.csv", "time_s", "0", "1", "5")
    for spec in ("streams:s.csv,speed=2,burst=3", "cameras:fps=5,jitter=0.002", "gaps:t.csv"):
        found = draw_arrivals(parse_arrivals(spec, tmp_path), [20.0, 10.0], 3.0, rng())
        assert set(found.model.tolist()) == {0, 1}
    assert trace.exists()
    bundle = tmp_path / "b"
    bundle.mkdir()
    truth = simulate_truth("serving", 40, "chat")
    fit_generator("replay", truth, seed=0, options=FitOptions(hour=10)).save(bundle)
    found = parse_arrivals("generator:b,hour=10,mix=chat:1,models=events", tmp_path)
    assert set(found.draw([10.0, 1.0], 20.0, rng()).model.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("cameras:", "give fps"),
        ("cameras:count=1.5", "count"),
        ("cameras:fps=0", "fps"),
        ("cameras:fps=30,jitter=-1", "jitter"),
        ("streams:nowhere.csv", "no such file"),
        ("streams:s.csv,speed=0", "speed"),
        ("streams:s.csv,burst=1.5", "burst"),
        ("streams:s.csv,rate=-1", "rate"),
        ("streams:s.csv,hour=3", "unknown option 'hour'"),
        ("streams:s.csv,models=by", "models .='by'. is unknown"),
        ("generator:nowhere", "no such file"),
        ("generator:b,hour=3", "hour .=3. is not in this bundle"),
        ("generator:b,hour=3.5", "hour .=3.5. must be a whole number"),
        ("generator:b,mix=phone", "must be CLASS:WEIGHT"),
        ("generator:b,mix=car:1", "class 'car' is unknown"),
    ],
)
def test_bad_specs(tmp_path, spec, message):
    write_streams(tmp_path / "s.csv", PAIR)
    (tmp_path / "b").mkdir()
    fit_generator("replay", PAIR, seed=0, options=FitOptions(hour=10)).save(tmp_path / "b")
    with pytest.raises(BadInputError, match=message):
        parse_arrivals(spec, tmp_path)
