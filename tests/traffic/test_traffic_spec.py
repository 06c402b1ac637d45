"""Processes by name: what is understood, what is refused, and with which words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from trace_files import write

from penstock.errors import BadInputError
from penstock.traffic.generator.protocol import FitOptions, fit_generator
from penstock.traffic.known import ARRIVALS_HELP, KNOWN
from penstock.traffic.processes.diurnal import diurnal
from penstock.traffic.processes.modulated import SteppedShape
from penstock.traffic.processes.onoff import onoff
from penstock.traffic.processes.renewal import cv_of_sigma, gamma, lognormal, poisson
from penstock.traffic.processes.replay import TraceReplay
from penstock.traffic.spec import parse_arrivals
from penstock.traffic.streams.load_streams import load_streams


def drawn(process, **options):
    return process(90.0, 5.0, np.random.default_rng(1), **options)


@pytest.mark.parametrize(
    ("spec", "process", "options"),
    [
        ("poisson", poisson, {}),
        ("gamma:cv=4", gamma, {"cv": 4.0}),
        ("lognormal:cv=2", lognormal, {"cv": 2.0}),
        ("lognormal:sigma=1.5", lognormal, {"cv": cv_of_sigma(1.5)}),
        ("onoff:on=1,off=4,ratio=10", onoff, {"on_s": 1.0, "off_s": 4.0, "ratio": 10.0}),
        (" onoff : off=4, on = 1, ratio=inf", onoff, {"on_s": 1.0, "off_s": 4.0, "ratio": np.inf}),
        ("diurnal:amplitude=0.5", diurnal, {"amplitude": 0.5, "period_s": 86_400.0}),
        (
            "diurnal:amplitude=0,period=9,start=3",
            diurnal,
            {"amplitude": 0.0, "period_s": 9.0, "start_s": 3.0},
        ),
    ],
)
def test_specs_name_processes(spec, process, options):
    assert np.array_equal(drawn(parse_arrivals(spec)), drawn(process, **options))


def test_a_shape_is_spread_over_the_period():
    process = parse_arrivals("diurnal:shape=1/4/2,period=60,start=random")
    assert isinstance(process, SteppedShape)
    assert process.weights.tolist() == [1, 4, 2]
    assert process.bin_s == 20
    assert process.start_s is None


def test_files_are_read_once(tmp_path):
    path = write(tmp_path / "t.csv", "time_s", "0", "1", "2.5")
    process = parse_arrivals("trace:t.csv,scale=fold,start=1.5,format=csv", tmp_path)
    counts = parse_arrivals(f"counts:{path},start=2")
    path.unlink()
    assert isinstance(process, TraceReplay)
    assert process.scale == "fold"
    assert process.start_s == 1.5
    assert len(drawn(process)) == pytest.approx(450, abs=6)
    assert isinstance(counts, SteppedShape)
    assert counts.weights.tolist() == [1, 1, 1]
    assert counts.start_s == 2


@pytest.mark.parametrize("name", ["a,b=c.csv", "with:colon.csv", "it's.csv", " spaced .csv"])
def test_odd_file_names_stand_in_quotes(tmp_path, name):
    write(tmp_path / name, "time_s", "0", "1")
    for spec in (f'trace:"{name}",scale=fold', f'trace: "{name}" , scale=fold', f'trace:"{name}"'):
        assert isinstance(parse_arrivals(spec, tmp_path), TraceReplay)


def test_colons_need_no_quotes(tmp_path):
    write(tmp_path / "a:b.csv", "time_s", "0", "1")
    assert isinstance(parse_arrivals("trace:a:b.csv", tmp_path), TraceReplay)


def test_every_example_is_understood(tmp_path):
    write(tmp_path / "FILE", "time_s,stream", "0,u", "1,v")
    (tmp_path / "BUNDLE").mkdir()
    streams = load_streams(tmp_path / "FILE")
    fit_generator("replay", streams, seed=0, options=FitOptions(hour=10)).save(tmp_path / "BUNDLE")
    for name, example in KNOWN.items():
        assert example.partition(":")[0] == name
        assert example in ARRIVALS_HELP
        parse_arrivals(example, tmp_path)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("posson", r"unknown process 'posson'. Did you mean poisson\? Examples: poisson \| gamma:cv=4"),
        ("uniform", r"unknown process 'uniform'. Examples: poisson"),
        ("", "unknown process ''"),
        ("poisson:cv=2", "unknown option 'cv'; this process takes no options"),
        ("gamma", "cv is missing. Write for instance gamma:cv=4"),
        ("gamma:cv=x", r"cv \(='x'\) must be a number"),
        ("gamma:cv=-1", "> 0"),
        ("gamma:cv=inf", "at most 100"),
        ("gamma:cv=nan", r"cv \(='nan'\) must be a number"),
        ("gamma:cv", "'cv' must be key=value"),
        ("gamma:=1", "must be key=value"),
        ("gamma:cv=1,cv=2", "each key once"),
        ("gamma:shape=2", "takes cv. Use one of: cv"),
        ("lognormal", "one of cv and sigma"),
        ("lognormal:cv=1,sigma=1", "one of cv and sigma"),
        ("lognormal:sigma=9", "at most 3"),
        ("lognormal:cv=101", "arrivals 'lognormal:cv=101': cv .* at most 100"),
        ("onoff:on=1", "give on, off .* and ratio, for instance onoff:on=1,off=4"),
        ("onoff:on=0,off=1,ratio=2", r"on \(=0\) must be a mean duration"),
        ("onoff:on=1,off=1,ratio=0.5", "ratio .* at least 1"),
        ("onoff:on=1,off=1,raito=2", "unknown option 'raito'.*Did you mean ratio"),
        ("diurnal", "one of amplitude and shape"),
        ("diurnal:amplitude=2", r"amplitude \(=2\) must lie in \[0, 1\]"),
        ("diurnal:amplitude=1,period=0", r"period \(=0\)"),
        ("diurnal:amplitude=1,start=-1", r"start \(=-1\) must be a number of seconds >= 0, or 'random'"),
        ("diurnal:shape=0/0", "one of them > 0"),
        ("diurnal:shape=1/-1", "numbers >= 0"),
        ("diurnal:shape=1/x", r"shape \(='x'\)"),
        ("trace", "the file is missing. Write trace:FILE"),
        ("counts:,start=0", "the file is missing"),
        ("trace:none.csv", "none.csv: no such file"),
        ("trace:a,b.csv", "'b.csv' must be key=value.*stands in quotes"),
        ('trace:"a,b.csv', 'must end with "'),
        ('trace:"a"b.csv', "Close the quotes"),
        ("trace:t.csv,scale=flod", r"scale \(='flod'\) is unknown. Did you mean fold"),
        ("trace:t.csv,format=llm", r"format \(='llm'\) is unknown"),
        ("trace:t.csv,cv=1", "takes format, scale, models, start, interval"),
        ("trace:t.csv,start=soon", r"start \(='soon'\) must be a number"),
    ],
)
def test_bad_specs(spec, message):
    with pytest.raises(BadInputError, match=message):
        parse_arrivals(spec, Path("nowhere"))
