"""Traffic as shops have it: counts per minute, Prometheus, ISO times, a process and a rate for each model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.by_model import ByModel, as_recorded, parse_by_model, recorded_s
from penstock.traffic.load import load_shape, load_trace
from penstock.traffic.spec import parse_arrivals


@pytest.mark.parametrize("text", ["second,count\n0,600\n60,60\n120,0\n", "count\n600\n60\n0\n"])
def test_counts_per_minute_are_no_bursts(tmp_path: Path, text: str):
    """They were read as 600 requests in one second, then 59 seconds of silence."""
    path = tmp_path / "minutes.csv"
    path.write_text(text)
    shape = load_shape(path, interval_s=60)
    assert shape.weights.tolist() == [600.0, 60.0, 0.0]
    assert shape.bin_s == 60.0
    assert parse_arrivals(f"counts:{path},interval=60").bin_s == 60.0
    drawn_us = load_shape(path, interval_s=60, start_s=0.0)(10.0, 180.0, np.random.default_rng(0))
    in_first_minute = np.count_nonzero(drawn_us < 60_000_000)
    assert in_first_minute / len(drawn_us) == pytest.approx(600 / 660, abs=0.03)
    # In each of its sixty seconds there are some.
    assert len(np.unique(drawn_us[:in_first_minute] // 1_000_000)) == 60


def test_an_interval_for_times_is_refused(tmp_path: Path):
    path = tmp_path / "times.csv"
    path.write_text("time_s\n0\n1\n")
    with pytest.raises(BadInputError, match="interval does not apply"):
        load_shape(path, interval_s=60)
    with pytest.raises(BadInputError, match="whole number of seconds"):
        parse_arrivals(f"counts:{path},interval=0.5")


def test_a_range_of_prometheus(tmp_path: Path):
    series = [
        {"metric": {"model": "a"}, "values": [[1000, "2"], [1030, "0.5"], [1060, "NaN"]]},
        {"metric": {"model": "b"}, "values": [[1030, "1"]]},
    ]
    path = tmp_path / "range.json"
    path.write_text(json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}))
    # 2/s for 30 s and 0.5/s for 30 s of a; 1/s for 30 s of b.
    assert load_shape(path).weights.tolist() == [60.0, 15.0 + 30.0, 0.0]
    trace = load_trace(path)
    assert len(trace) == 105
    assert trace.type_ is not None
    by_model = dict(zip(trace.type_.names, np.bincount(trace.type_.codes).tolist(), strict=True))
    assert by_model == {"a": 75, "b": 30}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            '{"status": "success", "data": {"resultType": "vector", "result": [{"value": [1, "2"]}]}}',
            "range query",
        ),
        ('{"status": "success", "data": {"result": []}}', "has no values"),
        ('{"status": "success", "data": {"result": [{"values": [[1, "2"]]}]}}', "equal steps"),
        ('{"status": "success", "data": {"result": [{"values": [[1, "-2"], [2, "1"]]}]}}', "must be from 0"),
    ],
)
def test_what_is_no_range_of_prometheus(tmp_path: Path, text: str, words: str):
    path = tmp_path / "range.json"
    path.write_text(text)
    with pytest.raises(BadInputError, match=words):
        load_shape(path)


def test_times_of_iso_8601(tmp_path: Path):
    path = tmp_path / "iso.csv"
    path.write_text(
        "time,model\n2025-01-31T09:30:00Z,a\n2025-01-31T09:30:00.250Z,b\n2025-01-31T10:30:01+01:00,a\n"
    )
    assert load_trace(path).time_us.tolist() == [0, 250_000, 1_000_000]
    path.write_text("time\n2025-01-31T09:30:00Z\nyesterday\n")
    with pytest.raises(BadInputError, match=r"line 3: time .='yesterday'. must be an ISO 8601"):
        load_trace(path)


class TestByModel:
    """There was one `--arrivals` for all models."""

    def test_each_model_has_its_process_and_the_rest_the_common_one(self):
        found = parse_by_model(["gamma:cv=4", "b=poisson"], ["a", "b"])
        assert isinstance(found, ByModel)
        drawn = found.draw([50.0, 50.0], 100.0, np.random.default_rng(0))
        gaps = [np.diff(drawn.arrival_us[drawn.model == m]) for m in (0, 1)]
        variation = [float(one.std() / one.mean()) for one in gaps]
        assert variation[0] > 2.5
        assert variation[1] == pytest.approx(1.0, abs=0.1)

    def test_one_for_all_is_as_before(self):
        assert not isinstance(parse_by_model(["gamma:cv=4"], ["a"]), ByModel)

    def test_what_contradicts_itself(self):
        for specs, words in (
            (["poisson", "gamma:cv=2"], "give one for all models"),
            (["a=poisson", "a=gamma:cv=2"], "given twice"),
            (["a=cameras:fps=30"], "draws all models together"),
            (["ab=poisson"], "no model is named 'ab'. Did you mean"),
            (["elsewhere=gamma:cv=4"], "no model is named 'elsewhere'. Use one of: a, b"),
            (["trace:poisson=poisson"], "no such file"),
        ):
            with pytest.raises(BadInputError, match=words):
                parse_by_model(specs, ["a", "b"])


WIDE = """Time,"{job=""web"", model=""a""}",b
2025-01-31 09:30:00,2,1
2025-01-31 09:30:30,0.5,
2025-01-31 09:31:00,NaN,0
"""
LONG = """name,timestamp,value,model,zone
requests,1738315800,2,a,x
requests,1738315830,0.5,a,x
requests,1738315860,NaN,a,x
requests,1738315800000,1,b,x
"""


@pytest.mark.parametrize("text", [WIDE, LONG])
def test_a_range_of_prometheus_as_csv(tmp_path: Path, text: str):
    """2/s for 30 s and 0.5/s for 30 s of a; 1/s for 30 s of b. What is empty or NaN counts 0."""
    path = tmp_path / "range.csv"
    path.write_text(text)
    assert load_shape(path).weights.tolist() == [60.0 + 30.0, 15.0, 0.0]
    assert load_shape(path).bin_s == 30.0
    trace = load_trace(path)
    assert trace.type_ is not None
    by_model = dict(zip(trace.type_.names, np.bincount(trace.type_.codes).tolist(), strict=True))
    assert by_model == {"a": 75, "b": 30}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Time,a\n2025-01-31 09:30:00,2 req/s\n", r"line 2: a .='2 req/s'. must be a plain number"),
        ("timestamp,value\n10,1\nnoon,1\n", r"line 3: timestamp .='noon'. must be an ISO 8601"),
        ("timestamp,value\n10,-1\n20,1\n", "line 2: rate -1 must be from 0"),
        ("Time,a\n", "has no values"),
    ],
)
def test_what_is_no_range_as_csv(tmp_path: Path, text: str, words: str):
    path = tmp_path / "range.csv"
    path.write_text(text)
    with pytest.raises(BadInputError, match=words):
        load_shape(path)


def test_the_interval_of_a_trace_of_counts(tmp_path: Path):
    path = tmp_path / "minutes.csv"
    path.write_text("count\n600\n60\n")
    replay = parse_arrivals(f"trace:{path},interval=60")
    assert replay.trace.period_us == 120_000_000
    assert np.count_nonzero(replay.trace.time_us < 60_000_000) == 600
    path.write_text("Time,a\n2025-01-31 09:30:00,2\n2025-01-31 09:30:30,2\n")
    for spec in ("trace", "counts"):
        with pytest.raises(BadInputError, match="states that its counts last 30 s"):
            parse_arrivals(f"{spec}:{path},interval=60")


class TestRouted:
    """The column `model` was ignored: every model replayed the whole trace."""

    ROWS = "time_s,model\n0,a\n1,b\n2,a\n3,a\n5,b\n"  # the mean gap is 1.25 s, so it lasts 6.25 s

    def specs(self, folder: Path, text: str = ROWS, options: str = "") -> str:
        path = folder / "requests.csv"
        path.write_text(text)
        return f"trace:{path}{options}"

    def test_each_model_gets_its_own_rows(self, tmp_path: Path):
        """At the recording's own rates and from its start, the draw is the recording."""
        found = parse_by_model(self.specs(tmp_path, options=",start=0"), ["b", "a"])
        drawn = found.draw([2 / 6.25, 3 / 6.25], 6.25, np.random.default_rng(0))
        assert drawn.arrival_us.tolist() == [0, 1_000_000, 2_000_000, 3_000_000, 5_000_000]
        assert drawn.model.tolist() == [1, 0, 1, 1, 0]

    @pytest.mark.parametrize("seed", range(3))
    def test_models_keep_their_distance_wherever_the_window_begins(self, tmp_path: Path, seed: int):
        """b's rows are 1 s after one of a's and 2 s after another, modulo the circle of 6.25 s."""
        found = parse_by_model(self.specs(tmp_path), ["a", "b"])
        drawn = found.draw([3 / 6.25, 2 / 6.25], 6.25, np.random.default_rng(seed))
        assert len(drawn) == 5
        a_us, b_us = (drawn.arrival_us[drawn.model == m] for m in (0, 1))
        apart = (b_us[:, None] - a_us[None, :]) % 6_250_000
        assert sorted(apart.min(axis=1).tolist()) == [1_000_000, 2_000_000]

    def test_at_another_rate_each_model_has_that_rate(self, tmp_path: Path):
        found = parse_by_model(self.specs(tmp_path), ["a", "b"])
        drawn = found.draw([30.0, 5.0], 100.0, np.random.default_rng(0))
        assert np.bincount(drawn.model).tolist() == pytest.approx([3000, 500], rel=0.1)

    def test_as_recorded(self, tmp_path: Path):
        """Times and rate are the recording's own, whatever rate is asked for; a model without rows has no load."""
        found = parse_by_model(as_recorded([self.specs(tmp_path)]), ["a", "b", "c"])
        assert recorded_s(found) == 6.25
        assert found.own_rate_rps() == pytest.approx(5 / 6.25)
        drawn = found.draw([1e6, 1e6, 1e6], 6.25, np.random.default_rng(7))
        assert drawn.arrival_us.tolist() == [0, 1_000_000, 2_000_000, 3_000_000, 5_000_000]
        assert drawn.model.tolist() == [0, 1, 0, 0, 1]
        with pytest.raises(BadInputError, match=r"7 s from 0 s on reach beyond the recording of 6\.25"):
            found.draw([1.0, 1.0, 1.0], 7.0, np.random.default_rng(7))

    def test_a_recording_for_one_model(self, tmp_path: Path):
        spec = self.specs(tmp_path, "time_s\n0\n1\n4\n")  # lasts 6 s
        for specs, models, expected in (([spec], ["a"], [0, 0, 0]), ([f"b={spec}"], ["a", "b"], [1, 1, 1])):
            found = parse_by_model(as_recorded(specs), models)
            assert recorded_s(found) == 6.0
            drawn = found.draw([0.0] * len(models), 6.0, np.random.default_rng(0))
            assert drawn.arrival_us.tolist() == [0, 1_000_000, 4_000_000]
            assert drawn.model.tolist() == expected

    def test_all_rows_for_every_model_if_that_is_asked_for(self, tmp_path: Path):
        found = parse_by_model(self.specs(tmp_path, options=",models=all"), ["a", "b"])
        assert found.trace.rate_rps == pytest.approx(5 / 6.25)
        triggers = "time_s,type\n0,http\n1,timer\n"
        assert len(parse_by_model(self.specs(tmp_path, triggers), ["a", "b"]).trace) == 2

    @pytest.mark.parametrize(
        ("text", "options", "models", "words"),
        [
            (ROWS, "", ["a"], "names 'b', but the models are a"),
            (ROWS, "", ["a", "b", "c"], "no row names the model 'c'"),
            (ROWS, ",models=column", ["x"], "names 'a', but the models are x"),
            ("time_s\n0\n1\n", ",models=column", ["a"], "needs a column 'model'"),
            ("time_s\n0\n1\n", ",scale=none", ["a", "b"], "must say which model each row is for"),
        ],
    )
    def test_what_does_not_fit_the_models(self, tmp_path: Path, text, options, models, words):
        with pytest.raises(BadInputError, match=words):
            parse_by_model(self.specs(tmp_path, text, options), models)

    def test_a_flag_without_a_recording(self):
        with pytest.raises(BadInputError, match="needs a recording"):
            as_recorded(["poisson"])
        with pytest.raises(BadInputError, match="two ways to scale"):
            as_recorded(["a=trace:x.csv,scale=fold"])
