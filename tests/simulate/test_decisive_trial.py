"""The decisive test: errors of ratios, verdicts, fleets, and the whole on a small plan."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

from penstock.cli.exchange.traffic import command
from penstock.cli.traffic_verbs.trial_contestants import Wanted, contestants_of
from penstock.errors import BadInputError
from penstock.interval import Interval
from penstock.plan.documents.scenario import load_profiles, load_scenario
from penstock.plan.documents.store import save_plan
from penstock.plan.planners.pool_planner import PoolPlanner
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.simulate.decisive import aggregate_loads, fleet_size
from penstock.simulate.decisive.contestants import Contestant, Outcome, Rules, over_folds, relative_error
from penstock.simulate.decisive.verdict import judge_aggregate, judge_sessions
from penstock.simulate.decisive.windowed_trace import windowed_trace, windows_as_streams
from penstock.traffic.generator.protocol import fit_generator
from penstock.traffic.machine import known_machine
from penstock.traffic.processes.renewal import poisson
from penstock.traffic.streams import write_streams
from penstock.traffic.trace import Trace
from penstock.traffic.truth import simulate_truth
from penstock.traffic.truth.truth_generator import TruthGenerator

RULES = Rules(half_width=0.015)


SCENARIO = """
version: 1
cluster: {bandwidth_gbps: 10, device_classes: {gpu: {count: 2}}}
models: [{name: toy, profile: toy, slo_ms: 600, slo_margin: 0.4}]
"""


def small_plan(folder):
    """Two devices that need 100 ms for one request, 120 ms for two."""
    latency = np.array([[100_000, 120_000]], np.int64)
    profile = Profile(
        model="toy",
        blocks=(Block("a", ("a",), 1, 1),),
        boundary_bytes=(1_000, 500),
        tables={("gpu", 1): LatencyTable(latency)},
        provenance=Provenance("measured", "toy", "none", "2025-01-01"),
    )
    save_profile(profile, folder / "toy")
    (folder / "scenario.yaml").write_text(SCENARIO)
    scenario = load_scenario(folder / "scenario.yaml")
    profiles = load_profiles(scenario, folder)
    save_plan(PoolPlanner().plan(scenario, profiles).solution, folder / "plan.json")
    return folder / "plan.json"


def outcome(name, role, error, half_width=0.01):
    return Outcome(Contestant(name, role, [poisson]), np.ones(6), Interval(error, half_width))


def outcomes(generated, poisson_error=0.40, other=0.02, half_width=0.01):
    return [
        outcome("real", "real", 0.0, 0.0),
        outcome("other", "other real", other),
        outcome("gaps", "shuffled", 0.05, 0.02),
        outcome("ours", "generated", generated, half_width),
        outcome("poisson", "plain", poisson_error),
    ]


def test_relative_error_by_hand():
    # Ratio 11 / 10. Residuals 1 and -1, deviation sqrt(2); / sqrt(2) / 10 = 0.1; t(1) = 12.706.
    found = relative_error(np.array([12.0, 10.0]), np.array([10.0, 10.0]))
    assert found.mean == pytest.approx(0.1)
    assert found.half_width == pytest.approx(1.2706, rel=1e-3)
    # Runs in pairs: what both have in common does not widen the interval.
    assert relative_error(np.array([2.0, 4.0, 8.0]), np.array([1.0, 2.0, 4.0])).half_width == pytest.approx(
        0.0, abs=1e-12
    )


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (outcomes(0.029), "passed"),
        (outcomes(-0.031), "failed"),
        (outcomes(0.045, other=0.05), "passed"),  # as near as another real sample
        (outcomes(0.045, other=0.05, poisson_error=0.2), "failed"),  # but not a fifth of Poisson's
        (outcomes(0.01, poisson_error=0.14), "void"),
        (outcomes(0.01, half_width=0.02), "undecided"),
    ],
)
def test_verdict_on_sessions(found, result):
    (verdict,) = judge_sessions(found, RULES)
    assert (verdict.name, verdict.result) == ("ours", result)
    assert "%" in verdict.reason


@pytest.mark.parametrize(
    ("found", "result"),
    [
        (outcomes(0.06, other=0.13), "passed"),
        (outcomes(0.08, other=0.13), "failed"),  # shuffled gaps: 5% with an interval of 2%
        (outcomes(0.06, other=0.04), "failed"),
        (outcomes(0.06, other=0.13, poisson_error=-0.1), "void"),
    ],
)
def test_verdict_on_an_aggregate(found, result):
    assert judge_aggregate(found, RULES)[0].result == result


def test_halves_in_two_folds():
    trace = Trace(np.arange(0, 100, 2) * 1_000_000, 100_000_000)
    first, second = aggregate_loads.halves(trace)
    assert (len(first), len(second)) == (25, 25)
    real, others = aggregate_loads.aggregate_contestants(trace, {"renewal": aggregate_loads.renewal_trace}, 0)
    again, _ = aggregate_loads.aggregate_contestants(trace, {}, 1)
    assert real.of_run(0).trace.time_us.tolist() == first.time_us.tolist()
    assert again.of_run(3).trace.time_us.tolist() == second.time_us.tolist()
    assert [one.role for one in others] == ["other real", "shuffled", "generated"]
    shuffled = others[1].of_run(0).trace
    assert sorted(np.diff(shuffled.time_us)) == sorted(np.diff(second.time_us))


def test_minutes_of_a_trace_as_streams():
    trace = Trace(np.array([5, 70, 80, 200, 290]) * 1_000_000, 300_000_000)
    streams = windows_as_streams(trace)
    assert streams.sizes.tolist() == [1, 2, 1, 1]  # the third minute of five is empty
    assert streams.time_us.tolist() == [5_000_000, 10_000_000, 20_000_000, 20_000_000, 50_000_000]
    fits = []

    def fit(given):
        fits.append(given)
        return fit_generator("replay", given, seed=0)

    make = windowed_trace(fit)
    one, other = make(trace, 1), make(trace, 2)
    assert len(fits) == 1
    assert one.time_us.tolist() != other.time_us.tolist()
    # Four minutes are drawn, and one stays empty: 4 to 8 arrivals.
    assert 4 <= len(one) <= 8
    with pytest.raises(BadInputError, match="at least two windows"):
        windows_as_streams(Trace(np.array([0, 1]), 2))


def test_errors_of_two_folds_do_not_cancel():
    merged = over_folds([outcomes(0.10, half_width=0.03), outcomes(-0.06, half_width=0.04)])
    ours = next(one for one in merged if one.contestant.name == "ours")
    assert ours.error.mean == pytest.approx(0.08)
    assert ours.error.half_width == pytest.approx(0.025)  # sqrt(3^2 + 4^2) / 2
    assert len(ours.held) == 12


@pytest.mark.parametrize("needed", [1, 5, 8, 9])
def test_fewest_devices(monkeypatch, needed):
    asked = []

    def holds(table, *_):
        asked.append(table)
        return table >= needed

    monkeypatch.setattr(fleet_size, "_holds", holds)
    load = Contestant("x", "real", [poisson])
    found = fleet_size.devices_needed(lambda n: n, [1.0], load, RULES, runs=1, first=2, most=8)
    assert found == (needed if needed <= 8 else None)
    assert len(asked) <= 6


def test_rules():
    with pytest.raises(BadInputError, match="at least 5, at most 3"):
        Rules(most_runs=3)


def test_truth_as_a_generator():
    truth = TruthGenerator("serving", {"chat": 0.5, "agent": 0.5})
    few, many = truth.sample(10, 3), truth.sample(40, 3)
    assert many.time_us[: few.n_events].tolist() == few.time_us.tolist()
    assert set(few.klass.tolist()) == {0, 1}
    assert set(truth.sample(10, 3, mix={"batch": 1.0}).klass.tolist()) == {2}
    other = TruthGenerator("serving", {"chat": 0.5, "agent": 0.5}, world=1).sample(10, 3)
    assert other.time_us.tolist() != few.time_us.tolist()


def test_methods_get_the_machine_that_they_can_use(tmp_path):
    pytest.importorskip("torch")
    lte, streams = known_machine("lte"), tmp_path / "lte.csv"
    write_streams(streams, simulate_truth(streams=40))

    def trained(real, *methods, machine=None):
        wanted = Wanted((), methods, "batch:1", 10, 30, 1e-4, machine)
        return [one.name for one in contestants_of(real, wanted)[1][0][1] if one.role == "generated"]

    assert trained(streams, "smm", "published", machine=lte) == ["smm", "published"]
    assert trained(None, "smm", "published") == ["smm", "published"]
    with pytest.raises(BadInputError, match="Give --machine"):
        trained(streams, "smm")
    with pytest.raises(BadInputError, match="have their own"):
        trained(None, "smm", machine=lte)


@pytest.mark.slow
def test_the_command_on_a_small_plan(tmp_path):
    """Few and short runs: what is asked is that every part is there, and that a verdict is not claimed."""
    plan = small_plan(tmp_path)
    arguments = ["trial", plan, "--method", "smm", "--mix", "batch:1", "--streams", "100", "--seconds", "20"]
    result = CliRunner().invoke(
        command, [*map(str, arguments), "--runs", "2", "--devices", "gpu", "--json"], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert [one["role"] for one in document["loads"]] == ["real", "other real", "generated", "plain", "plain"]
    assert document["loads"][0]["streams"] > 1
    assert document["loads"][3]["streams"] is None
    fleet = document["fleet"]
    assert list(fleet["devices"]) == [one["name"] for one in document["loads"]]
    assert (
        fleet["devices"]["poisson"] <= 2
    )  # the demand is 90% of what two devices hold of the real, burstier load
    assert document["verdicts"][0]["result"] in ("void", "undecided")
    with pytest.raises(BadInputError, match="names no streams"):
        path = tmp_path / "t.csv"
        path.write_text("time_s\n0\n1\n3\n")
        CliRunner().invoke(
            command, ["trial", str(plan), "--real", str(path), "--load", "x"], catch_exceptions=False
        )
    with pytest.raises(BadInputError, match="Leave out --machine"):
        CliRunner().invoke(
            command, ["trial", str(plan), "--real", str(path), "--machine", "lte"], catch_exceptions=False
        )
    assert "run 2 of at most 2" in result.stderr and "s left" in result.stderr
