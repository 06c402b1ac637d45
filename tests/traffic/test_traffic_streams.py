"""Streams as columns, in files, and cut."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_samples import streams_of
from trace_files import write

from penstock.errors import BadInputError
from penstock.traffic.streams import (
    join_streams,
    read_streams,
    select_streams,
    split_streams,
    windows_of,
    write_streams,
)
from penstock.traffic.streams.load_streams import load_streams
from penstock.traffic.streams.vocabulary import same_vocabulary

TWO = streams_of([("a", 1), ("b", 3)], [("a", 2)], klass=["x", "y"], window_s=10)


def test_gaps_and_sizes():
    assert TWO.sizes.tolist() == [2, 1]
    assert TWO.gap_us.tolist() == [
        1_000_000,
        2_000_000,
        2_000_000,
    ]  # first events count from the window's begin
    assert TWO.stream_of_event.tolist() == [0, 0, 1]
    assert TWO.events_per_second == pytest.approx(0.3)
    assert streams_of([("a", 1), ("a", 4)]).window_us == 4_000_001


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"time_us": np.array([3, 1, 2])}, "stream 0: time 1 us of event 1 lies before 3 us"),
        ({"time_us": np.array([-1, 1, 2])}, "event 0: time_us .=-1. must be >= 0"),
        ({"time_us": np.array([1, 2, 20_000_000])}, "lies past the window"),
        ({"time_us": np.array([1.0, np.nan, 2.0])}, "time_us is float64"),
        ({"time_us": np.array([1, 2])}, "3 events have 2 times"),
        ({"event": np.array([0, 2, 0], np.int16)}, r"event \(=2\) must be 0 to 1"),
        ({"klass": np.array([0, -1], np.int16)}, r"klass \(=-1\)"),
        ({"first": np.array([0, 3, 3])}, "every stream has at least one event"),
        ({"first": np.array([0, 3])}, "first has 2 entries for 2 streams"),
        ({"events": ("a", "a")}, "the names of event"),
        ({"window_us": -1}, "window_us"),
    ],
)
def test_refused(changes, message):
    with pytest.raises(BadInputError, match=message):
        dataclasses.replace(TWO, **changes)


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_files_give_back_what_was_written(tmp_path, suffix):
    path = tmp_path / f"s.{suffix}"
    write_streams(path, TWO)
    back = read_streams(path, window_us=0 if suffix == "parquet" else TWO.window_us)
    assert back.window_us == TWO.window_us
    assert (back.events, back.classes) == (TWO.events, TWO.classes)
    for name in ("event", "time_us", "first", "klass"):
        assert getattr(back, name).tolist() == getattr(TWO, name).tolist()
    with pytest.raises(BadInputError, match="exists already"):
        write_streams(path, TWO)


def test_csv_mixes_streams_and_moves_time_to_zero(tmp_path):
    path = write(tmp_path / "s.csv", "time_s,stream,event", "5,u,a", "5.5,v,b", "6,u,b")
    streams = read_streams(path)
    assert streams.time_us.tolist() == [0, 1_000_000, 500_000]
    assert streams.first.tolist() == [0, 2, 3]
    assert streams.classes == ("all",)
    assert load_streams(path).time_us.tolist() == streams.time_us.tolist()


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (
            ["stream,event,time_us", "u,a,5", "v,a,1", "u,b,4"],
            "line 4: time 0.000004 s of stream 'u' lies before",
        ),
        (["stream,event,time_s", "u,a,nan"], r"line 2: time_s \(='nan'\)"),
        (["stream,event,time_s", "u,a,-1"], "line 2: time_s"),
        (["stream,event,time_s"], "holds no events"),
        (["stream,time_s", "u,1"], "line 1: the header is 'stream,time_s'"),
        (["stream,event,time_s,colour", "u,a,1,red"], "colour"),
        (["stream,class,event,time_s", "u,x,a,1", "u,y,a,2"], "stream 'u' has the classes 'x' and 'y'"),
        (["stream,event,time_s", ",a,1"], "line 2: stream"),
    ],
)
def test_csv_refused(tmp_path, lines, message):
    with pytest.raises(BadInputError, match=message):
        read_streams(write(tmp_path / "s.csv", *lines))


def test_parquet_refused(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "s.parquet"
    pq.write_table(pa.table({"stream": [1, 1], "event": ["a", "b"], "time_us": [1.0, float("nan")]}), path)
    with pytest.raises(BadInputError, match="whole microseconds"):
        read_streams(path)
    pq.write_table(pa.table({"stream": [1], "event": ["a"]}), path)
    with pytest.raises(BadInputError, match="time_us"):
        read_streams(path)
    path.write_bytes(b"PAR1 not really")
    with pytest.raises(BadInputError, match="not a readable Parquet"):
        read_streams(path)


def test_select_join_and_split():
    twice = select_streams(TWO, np.array([1, 0, 1]))
    assert twice.time_us.tolist() == [2_000_000, 1_000_000, 3_000_000, 2_000_000]
    assert twice.klass.tolist() == [1, 0, 1]
    assert join_streams([TWO, twice]).first.tolist() == [0, 2, 3, 4, 6, 7]
    one, other = split_streams(join_streams([TWO] * 5), 0.3, seed=1)
    assert (len(one), len(other)) == (3, 7)
    with pytest.raises(BadInputError, match="the trace has one stream"):
        split_streams(select_streams(TWO, np.array([0])), 0.5, seed=1)


def test_windows():
    parts = dict(windows_of(TWO, 2_000_000))
    assert list(parts) == [0, 1]  # nothing after 4 s
    assert parts[0].time_us.tolist() == [1_000_000]
    assert parts[1].time_us.tolist() == [1_000_000, 0]  # stream 1 begins the second window
    assert parts[1].klass.tolist() == [0, 1]
    with pytest.raises(BadInputError, match="window"):
        list(windows_of(TWO, 20_000_000))


def test_same_vocabulary():
    other = streams_of([("c", 0), ("b", 1)], klass=["y"])
    one, two = same_vocabulary([TWO, other])
    assert one.events == two.events == ("a", "b", "c")
    assert two.event.tolist() == [2, 1]
    assert two.klass.tolist() == [1]


def test_a_trace_without_streams_is_refused(tmp_path):
    path = write(tmp_path / "t.csv", "time_s", "0", "1")
    with pytest.raises(BadInputError, match="names no streams"):
        load_streams(path)
    named = write(tmp_path / "n.csv", "time_s,stream,class,type", "0,u,x,m", "1,v,y,m", "2,u,x,k")
    streams = load_streams(named)
    assert streams.events == ("m", "k")
    assert streams.event.tolist() == [0, 1, 0]
    assert streams.time_us.tolist() == [0, 2_000_000, 1_000_000]


@given(
    st.lists(
        st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 10**9)), min_size=1, max_size=5),
        min_size=1,
        max_size=5,
    )
)
def test_gaps_are_never_negative(rows):
    rows = [sorted(((name, us / 1e6) for name, us in row), key=lambda pair: pair[1]) for row in rows]
    streams = streams_of(*rows)
    assert (streams.gap_us >= 0).all()
    assert (
        np.add.reduceat(streams.gap_us, streams.first[:-1]).tolist()
        == streams.time_us[streams.first[1:] - 1].tolist()
    )
