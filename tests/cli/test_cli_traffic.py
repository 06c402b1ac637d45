"""``penstock traffic``: convert and describe."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from penstock.cli.exchange.traffic import command
from penstock.errors import BadInputError
from penstock.traffic.load import load_trace


@pytest.fixture
def counts(tmp_path):
    path = tmp_path / "counts.txt"
    path.write_text("2\n0\n3\n")
    return path


def run(*arguments):
    result = CliRunner().invoke(command, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_convert_writes_plain_csv(counts, tmp_path):
    out = tmp_path / "out.csv"
    document = json.loads(run("convert", counts, "-o", out, "--json"))
    assert document["arrivals"] == 5
    assert document["output"] == str(out)
    trace = load_trace(out, format_name="csv")
    original = load_trace(counts)
    assert trace.time_us.tolist() == (original.time_us - original.time_us[0]).tolist()
    with pytest.raises(BadInputError, match="exists already"):
        run("convert", counts, "-o", out)
    run("convert", counts, "-o", out, "--force", "--seed", "7")
    assert load_trace(out).time_us.tolist() != trace.time_us.tolist()


def test_describe_a_file(counts):
    document = json.loads(run("describe", counts, "--format", "counts", "--json"))
    assert document["arrivals"] == 5
    assert document["seconds"] == 3.0
    assert document["peak_rps"] == 3
    assert "dispersion" in document
    assert "CV of gaps" in run("describe", counts)


def test_describe_a_spec(counts):
    document = json.loads(run("describe", "poisson", "--rate", "50", "--seconds", "200", "--json"))
    assert document["arrivals"] == pytest.approx(10_000, abs=400)
    assert [entry["window_s"] for entry in document["dispersion"]] == [0.1, 1.0, 10.0]
    same = ("describe", f"trace:{counts},scale=fold", "--seed", "3", "--json")
    assert run(*same) == run(*same)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("posson",), r"posson: no such file, and not .* Did you mean poisson"),
        (("nothing.csv",), r"nothing.csv: no such file"),
        (("poisson", "--format", "csv"), r"--format is for a FILE"),
        (("some.csv", "--rate", "5"), r"taken as a FILE.*write trace:some.csv"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(BadInputError, match=message):
        run("describe", *arguments)
