"""Every loader on a tiny file whose arrivals are known, and every way in which a file can be wrong."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trace_files import toy_trace, write

from penstock.errors import BadInputError
from penstock.traffic.formats import azure_functions_2021, lines, plain
from penstock.traffic.load import load_shape, load_trace

LLM = "TIMESTAMP,ContextTokens,GeneratedTokens"
MAF21 = "app,func,end_timestamp,duration"
MAF19 = "HashOwner,HashApp,HashFunction,Trigger,1,2,3"


def names(labels):
    return [labels.names[code] for code in labels.codes]


def test_plain_csv_with_every_column(tmp_path):
    path = write(
        tmp_path / "t.csv", "stream,time_us,class,model", "u1,100,phone,a", "u2,100,car,b", "u1,400,phone,a"
    )
    trace = load_trace(path)
    assert trace.time_us.tolist() == [0, 0, 300]
    assert trace.period_us == 600  # two different times 300 us apart: the seam is another 300
    assert names(trace.stream) == ["u1", "u2", "u1"]
    assert names(trace.class_) == ["phone", "car", "phone"]
    assert names(trace.type_) == ["a", "b", "a"]


def test_plain_csv_in_seconds_rounds_once(tmp_path):
    # As spreadsheets write it: a byte order mark, CRLF, a blank line.
    path = tmp_path / "t.csv"
    path.write_bytes(b"\xef\xbb\xbftime_s\r\n1700000000.0000004\r\n\r\n1700000000.5\r\n1.7000000015e9\r\n")
    assert load_trace(path).time_us.tolist() == [0, 500_000, 1_500_000]


def test_azure_llm(tmp_path):
    path = write(
        tmp_path / "t.csv",
        LLM,
        "2023-11-16 23:59:59.9999996,4808,10",
        "2023-11-17 00:00:00.2500000,1,1",
        "2023-11-17 00:00:01+00:00,1,1",  # as the files of 2024 have it
    )
    assert load_trace(path).time_us.tolist() == [0, 250_000, 1_000_000]


def test_azure_functions_2021_sorts_by_start(tmp_path):
    path = write(tmp_path / "t.csv", MAF21, "a,f,10.0,1.0", "b,f,9.5,0.25", "a,g,3.5,4.0", "a,f,12,0")
    trace = load_trace(path)
    # Starts 9, 9.25, -0.5 (it began before the recording) and 12; then from the first on.
    assert trace.time_us.tolist() == [0, 9_500_000, 9_750_000, 12_500_000]
    assert names(trace.stream) == ["a/g", "a/f", "b/f", "a/f"]
    assert names(trace.class_) == ["a", "a", "b", "a"]


def test_azure_functions_2019_keeps_every_count(tmp_path):
    path = write(tmp_path / "t.csv", MAF19, "o,a,f,queue,0,2,1", "o,b,f,http,3,0,0")
    trace = load_trace(path)
    assert trace.period_us == 180_000_000
    minute = trace.time_us // 60_000_000
    by_stream = {(name, int(m)) for name, m in zip(names(trace.stream), minute, strict=True)}
    assert by_stream == {("o/a/f", 1), ("o/a/f", 2), ("o/b/f", 0)}
    assert np.bincount(minute).tolist() == [3, 2, 1]
    assert sorted(names(trace.type_)) == ["http"] * 3 + ["queue"] * 3
    assert trace.class_.names == ("o/a", "o/b")
    assert np.array_equal(trace.time_us, load_trace(path).time_us)
    assert not np.array_equal(trace.time_us, load_trace(path, seed=1).time_us)


def test_mooncake(tmp_path):
    path = write(
        tmp_path / "t.jsonl",
        '{"timestamp": 0, "hash_ids": [1]}',
        "",
        '{"timestamp":3000}',
        '{"timestamp": 3000.5}',
    )
    assert load_trace(path).time_us.tolist() == [0, 3_000_000, 3_000_500]


@pytest.mark.parametrize(
    "text",
    [["2", "0", "1"], ["count", "2", "0", "1"], ["second,count", "7,2", "9,1"]],
    ids=["bare", "count", "second"],
)
def test_per_second_counts(tmp_path, text):
    path = write(tmp_path / "t.csv", *text)
    trace = load_trace(path)
    assert np.bincount(trace.time_us // 1_000_000).tolist() == [2, 0, 1]
    assert trace.period_us == 3_000_000
    assert trace.stream is None
    shape = load_shape(path)
    assert shape.weights.tolist() == [2, 0, 1]
    assert shape.bin_s == 1


def test_shape_of_other_formats(tmp_path):
    by_minute = load_shape(write(tmp_path / "a.csv", MAF19, "o,a,f,queue,0,2,1", "o,b,f,http,3,0,0"))
    assert by_minute.weights.tolist() == [3, 2, 1]
    assert by_minute.bin_s == 60
    counted = load_shape(write(tmp_path / "b.csv", "time_s", "0.5", "0.75", "3.5"))
    assert counted.weights.tolist() == [2, 0, 0, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ([], "is empty"),
        (["time_us"], "no arrivals below its header"),
        (["time_us", "5", "5"], "two different times"),
        (["time_us", "5"], "1 arrivals at one time"),
        (["time_us", "5", "4"], r"line 3: time 0.000004 s lies before 0.000005 s on line 2.*Sort"),
        (["time_us", "5", "-4"], r"line 3: time_us \(='-4'\) must be a whole number from 0"),
        (["time_us", "5", "6.5"], r"line 3: time_us \(='6.5'\) must be a whole"),
        (["time_us", "5", "x"], r"line 3: time_us \(='x'\).*Correct or remove"),
        (["time_us", "", "5", "", "4"], "line 5: .* on line 3"),  # blank lines are no rows
        (["time_us,stream", "5,a", "6,"], r"line 3: stream \(=''\) must be a name"),
        (["time_s", "0", "nan"], r"line 3: time_s \(='nan'\)"),
        (["time_s", "0", "inf"], r"line 3: time_s \(='inf'\)"),
        (["time_s", "0", "1e300"], r"line 3: time_s \(='1e300'\)"),
        (["time_s", "0", "1_0"], r"line 3: time_s \(='1_0'\)"),
        (["time_s", "0", "١"], r"line 3: time_s \(='١'\)"),
        (["time_s", "0", "40000000"], "line 3: time 40000000.* more than 366 days.*unit"),
        (["time_s", "0,1"], "line 2: 2 cells where there should be 1"),
        (["time_s,steam", "0,1"], "unknown column 'steam'. Did you mean stream"),
        (["time_s,time_us", "0,1"], "one of time_us, time_s and time"),
        (["time_s,time_s", "0,1"], "must have one of"),
        (["time_s,type,model", "0,a,b"], "at most one of type and model"),
        (["time_s,stream,stream", "0,a,b"], "names a column twice"),
        (["time_s,stream", '0,"a'], "two different times"),
        ([LLM, "2023-11-16 18:17:03.5,1,1", "2023-11-16 18:17:03.4,1,1"], "line 3: time .* lies before"),
        ([LLM, "2023-02-30 00:00:00,1,1"], r"line 2: TIMESTAMP \(='2023-02-30 00:00:00'\) must be a date"),
        ([LLM, "NaT,1,1"], "line 2: TIMESTAMP"),
        ([LLM, "2023-11-16 18:17:03.5+02:00,1,1"], "in UTC"),
        ([MAF21, "a,f,1,-2"], r"line 2: duration \(='-2'\)"),
        ([MAF21, "a,f,-1,2"], r"line 2: end_timestamp \(='-1'\)"),
        ([MAF21, "a,,1,2"], "line 2: func"),
        ([MAF19, "o,a,f,q,1,2,1.5"], r"line 2: 3 \(='1.5'\) must be a whole number from 0 to 1000000000"),
        ([MAF19, "o,a,f,q,0,0,0"], "counts no arrivals"),
        ([MAF19], "counts no arrivals"),
        ([MAF19, "o,a,f,q,100000000,1,0"], "more than 100,000,000 arrivals.*counts:FILE"),
        (["HashOwner,HashApp,HashFunction,Trigger,1,3", "o,a,f,q,1,1"], "without a gap"),
        (["HashOwner,HashApp,HashFunction,Average", "o,a,f,1"], "no known format"),
        (['{"timestamp": 1}', '{"timestamp": 0}'], "line 2: time .* lies before"),
        (['{"timestamp": 1}', '{"timestamp": NaN}'], r"line 2: timestamp \(='NaN'\)"),
        (['{"timestamp": 1}', '{"timestamp": -1}'], r"line 2: timestamp \(='-1'\)"),
        (['{"timestamp": 1}', '{"timestamp": 1e99}'], r"line 2: timestamp \(='1e99'\)"),
        (['{"timestamp": 1}', '{"timestamp": "2"}'], r"line 2: timestamp \(='2'\) must be a number"),
        (['{"timestamp": 1}', '{"timestamp": true}'], r"line 2: timestamp \(=True\)"),
        (['{"timestamp": 1}', '{"time": 2}'], r"line 2: timestamp \(=None\)"),
        (['{"timestamp": 1}', "[1]"], "line 2: timestamp"),
        (['{"timestamp": 1}', "oops"], "line 2: not JSON"),
        (['{"timestamp": 1}', "[" * 100_000], "line 2: nested too deeply|line 2: not JSON"),
        (["second,count", "1,2", "1,2"], r"line 3: second \(='1'\) must be later"),
        (["second,count", "0,1", "99999999,1"], "line 3: the counts reach over 100,000,000 s"),
        (["count", "1", "-1"], r"line 3: count \(='-1'\)"),
        (["5", "1", "x"], r"line 3: count \(='x'\)"),
        (["when,what", "1,2"], "no known format.*time_us"),
        ([""], "is empty"),
    ],
)
def test_bad_files_name_line_value_rule_and_fix(tmp_path, text, message):
    path = write(tmp_path / "t", *text)
    with pytest.raises(BadInputError, match=message) as caught:
        load_trace(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_what_is_no_text_file(tmp_path, monkeypatch):
    with pytest.raises(BadInputError, match="no such file"):
        load_trace(tmp_path / "none.csv")
    with pytest.raises(BadInputError, match="is a folder"):
        load_trace(tmp_path)
    (tmp_path / "binary").write_bytes(b"time_us\n1\n\xff\xfe\n")
    with pytest.raises(BadInputError, match="not UTF-8"):
        load_trace(tmp_path / "binary")
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    with pytest.raises(BadInputError, match="line 2: is longer than 10"):
        load_trace(write(tmp_path / "long", "time_us", "1" * 11))


def test_order_and_names_hold_across_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr(lines.read_table, "__kwdefaults__", {"header": (), "rows": 2})
    rows = ["time_us,stream", "1,a", "2,b", "3,b", "4,a", "5,c"]
    trace = load_trace(write(tmp_path / "good.csv", *rows))
    assert trace.time_us.tolist() == [0, 1, 2, 3, 4]
    assert names(trace.stream) == ["a", "b", "b", "a", "c"]
    with pytest.raises(BadInputError, match=r"line 4: time 0.000001 s lies before 0.000002 s on line 3"):
        load_trace(write(tmp_path / "bad.csv", *rows[:3], "1,b", "4,a"))
    seconds = write(tmp_path / "c.csv", "second,count", "3,1", "4,1", "6,2")
    assert load_shape(seconds).weights.tolist() == [1, 1, 0, 2]


def test_a_given_format_must_fit(tmp_path):
    path = write(tmp_path / "t.csv", "time_us", "1", "2")
    assert len(load_trace(path, format_name="csv")) == 2
    with pytest.raises(
        BadInputError, match="'time_us' is not the beginning of format azure-llm, which is TIMESTAMP"
    ):
        load_trace(path, format_name="azure-llm")
    with pytest.raises(BadInputError, match=r"unknown format 'azure-lm'. Did you mean azure-llm"):
        load_trace(path, format_name="azure-lm")


def test_the_published_azure_functions_file_is_known_by_its_digest(tmp_path, monkeypatch):
    path = write(tmp_path / azure_functions_2021.FULL_NAME, MAF21, "a,f,1,0", "a,f,2,0")
    with pytest.raises(BadInputError, match=r"1,980,951 invocations, but SHA-256 .*rename"):
        load_trace(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(azure_functions_2021, "FULL_SHA256", digest)
    assert len(load_trace(path)) == 2
    path.rename(tmp_path / "mine.txt")
    monkeypatch.undo()
    assert len(load_trace(tmp_path / "mine.txt")) == 2


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    gaps=st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any),
    data=st.data(),
)
def test_plain_csv_round_trip(tmp_path, gaps, data):
    times = np.cumsum([0, *gaps]).tolist()
    streams = data.draw(st.lists(st.integers(0, 4), min_size=len(times), max_size=len(times)))
    trace = toy_trace(times, times[-1] + 1, streams)
    plain.save(trace, tmp_path / "t.csv", force=True)
    again = load_trace(tmp_path / "t.csv")
    assert again.time_us.tolist() == times
    assert names(again.stream) == names(trace.stream)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    header=st.sampled_from(
        ["time_us", "time_s,stream", LLM, MAF21, MAF19, "second,count", '{"timestamp": 1}', ""]
    ),
    body=st.text(alphabet=st.sampled_from('0123456789.,-"e\n{}:timesap[] '), max_size=60),
)
def test_any_text_is_a_trace_or_bad_input(tmp_path, header, body):
    path = write(tmp_path / "fuzz", header, body)
    try:
        trace = load_trace(path)
    except BadInputError as error:
        assert str(error).startswith(f"{path}: ")
    else:
        assert 0 <= trace.time_us[0] <= trace.time_us[-1] < trace.period_us
