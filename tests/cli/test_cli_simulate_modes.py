"""``penstock simulate``: modes, policies and several seeds, on the plan of the other tests of the verb."""

from __future__ import annotations

import json

import pytest
from test_cli_simulate import plan, run  # noqa: F401  (a fixture)

from penstock.cli.common import policies
from penstock.errors import BadInputError
from penstock.ppipe.simulator import published
from penstock.record import load_record
from penstock.simulate.routed import routed_simulator
from penstock.simulate.stagewise import stagewise_simulator


def document(plan, *options):  # noqa: F811
    return json.loads(run(plan, "--seconds", 5, *options, "--json").stdout)


def test_the_choices_are_the_simulators_policies():
    assert policies.ROUTED == routed_simulator.POLICIES
    assert policies.STAGEWISE == stagewise_simulator.POLICIES
    assert set(published.POLICIES) <= set(policies.POLICIES)


@pytest.mark.parametrize("mode", ["full", "published"])
@pytest.mark.parametrize("policy", ["reservation", "reactive"])
def test_every_mode_and_policy_keeps_the_keys(plan, tmp_path, mode, policy):  # noqa: F811
    options = ["--mode", mode, "--policy", policy, "--load", 0.5]
    found = document(plan, *options, "-o", tmp_path / "run")
    (model,) = found["models"]
    assert {"name", "offered_rps", "attainment", "goodput_rps"} <= model.keys()
    assert model["attainment"] > 0.9
    assert model["attainment_interval"] is None
    assert (found["mode"], found["policy"], found["seeds"]) == (mode, policy, 1)
    assert len(load_record(tmp_path / "run").requests.request) == found["requests"]


def test_seeds_are_averaged_and_the_interval_holds_the_mean(plan):  # noqa: F811
    single = [document(plan, "--seed", seed)["models"][0] for seed in (2, 3, 4)]
    several = document(plan, "--seed", 2, "--seeds", 3)
    (model,) = several["models"]
    for key in ("attainment", "goodput_rps", "offered_rps", "p99_us"):
        assert model[key] == pytest.approx(sum(one[key] for one in single) / 3)
    assert model["requests"] == sum(one["requests"] for one in single)
    low, high = model["goodput_interval"]
    assert low < model["goodput_rps"] < high


def test_several_seeds_for_people(plan):  # noqa: F811
    assert "3 seeds" in run(plan, "--seconds", 2, "--seeds", 3).stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "2", "-o", "run"], "--seeds"),
        (["--mode", "published", "--noise"], "--mode full"),
        (["--mode", "published", "--dispatch-us", "3"], "--mode full"),
    ],
)
def test_what_does_not_go_together_is_refused(plan, options, message):  # noqa: F811
    with pytest.raises(BadInputError, match=message):
        run(plan, *options)
