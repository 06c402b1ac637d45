"""``penstock traffic fit`` and ``generate`` at the command line."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from test_learned_bundle import facts, generator

from penstock.cli.exchange.traffic import command
from penstock.errors import BadInputError
from penstock.traffic.generator.learned import Part
from penstock.traffic.streams import read_streams, write_streams
from penstock.traffic.truth import simulate_mix


def run(*arguments, status=0):
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == status, result.output
    return result


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    folder.mkdir()
    one = generator().parts[0].model
    generator(Part(facts(9), one), Part(facts(10), one)).save(folder)
    return folder


def test_generate_writes_the_same_streams_for_a_seed(bundle, tmp_path):
    first, second = tmp_path / "a.csv", tmp_path / "b.parquet"
    document = json.loads(run("generate", bundle, "--streams", 30, "--seed", 3, "-o", first, "--json").stdout)
    run("generate", bundle, "--streams", 30, "--seed", 3, "--threads", 1, "-o", second)
    a, b = read_streams(first, window_us=document["window_us"]), read_streams(second)
    assert document["streams"] == 30 == len(b)
    assert a.time_us.tolist() == b.time_us.tolist()
    with pytest.raises(BadInputError, match="exists already"):
        run("generate", bundle, "--streams", 30, "-o", first)


def test_a_rate_takes_as_many_streams_as_it_needs(bundle, tmp_path):
    out = tmp_path / "a.parquet"
    # The window is one second: 5,000 events a second are 5,000 events, at twice the speed in half the window.
    for speed, wanted in ((1, 5_000), (2, 2_500)):
        document = json.loads(
            run("generate", bundle, "--rate", 5000, "--speed", speed, "-o", out, "--json", "--force").stdout
        )
        assert document["events"] == pytest.approx(wanted, rel=0.1)
        assert document["events_per_s"] == pytest.approx(5_000, rel=0.1)


def test_mix_hour_and_burst_are_taken(bundle, tmp_path):
    out = tmp_path / "a.parquet"
    run("generate", bundle, "--streams", 50, "--hour", 9, "--mix", "y=1", "--burst", 3, "-o", out)
    assert {read_streams(out).classes[code] for code in read_streams(out).klass} == {"y"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--streams", "5", "--rate", "2"], "one of --streams and --rate"),
        ([], "one of --streams and --rate"),
        (["--streams", "5", "--mix", "x"], "CLASS=WEIGHT"),
        (["--streams", "5", "--mix", "x=1,x=2"], "CLASS=WEIGHT"),
        (["--streams", "5", "--mix", "x=nan"], "CLASS=WEIGHT"),
        (["--streams", "5", "--mix", "z=1"], "unknown to this generator"),
        (["--streams", "5", "--mix", "x=0"], "every weight is 0"),
        (["--streams", "5", "--hour", "3"], "hour 3 is not in this bundle"),
        (["--rate", "1e-9"], "Change the rate"),
    ],
)
def test_what_cannot_be_generated_is_said(bundle, tmp_path, options, said):
    with pytest.raises(BadInputError, match=said):
        run("generate", bundle, *options, "-o", tmp_path / "a.csv")
    assert not (tmp_path / "a.csv").exists()


@pytest.mark.parametrize("span", ["1", "h", "0s", "-1h", "nans", "9999d"])
def test_a_window_that_is_no_span_is_refused(tmp_path, span):
    result = run("fit", tmp_path / "t.csv", "-o", tmp_path / "b", "--window", span, status=2)
    assert "span of time" in result.output or "at most a year" in result.output


def test_fit_cuts_windows_trains_and_fine_tunes(tmp_path):
    pytest.importorskip("torch")
    trace, first, second = tmp_path / "t.parquet", tmp_path / "one", tmp_path / "two"
    write_streams(trace, simulate_mix("lte", {"phone": 60, "tablet": 30}))
    size = ["--hidden", 16, "--bins", 8, "--steps", 3]
    made = run("fit", trace, "-o", first, "--window", "30m", "--hour", 10, *size, "--json")
    document = json.loads(made.stdout)
    assert document["window_us"] == 1_800_000_000
    assert document["training"][0]["steps"] == 3
    # Each half hour is a stream of its own: about two for each device.
    assert 120 <= document["training"][0]["streams"] + document["training"][0]["held_out_streams"] <= 180
    assert "s left" in made.stderr and "kept step" in made.stderr
    kept = document["training"][0]["kept"]
    assert kept in document["training"][0]["curve"]
    scores = json.loads((first / "bundle.json").read_text())["scores"]
    assert scores == document["scores"]
    assert {"event mix", "event mix, real", "whole streams copied"} <= set(scores)
    run("fit", trace, "-o", second, "--window", "30m", "--hour", 11, "--from", first, *size)
    header = json.loads((second / "bundle.json").read_text())
    assert [part["hour"] for part in header["parts"]] == [10, 11]
    assert [part["training"]["fine_tuned"] for part in header["parts"]] == [False, True]
    assert header["holds_trace"] is False
    out = tmp_path / "s.csv"
    run("generate", second, "--streams", 20, "--hour", 10, "-o", out)
    assert np.all(read_streams(out, window_us=1_800_000_000).gap_us >= 0)
    with pytest.raises(BadInputError, match="Give one"):
        run("fit", trace, "-o", tmp_path / "c", "--minutes", 1, "--steps", 1)
