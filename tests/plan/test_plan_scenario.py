"""Scenarios: demands, weights and objectives that fit together, and clear refusals if they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import BadInputError
from penstock.files import validate
from penstock.plan.documents.scenario import Scenario


def scenario(
    *models: dict[str, Any], hourly_cost: float | None = None, count: int = 1, **planner: Any
) -> Scenario:
    document = {
        "version": 1,
        "cluster": {
            "bandwidth_gbps": 10,
            "device_classes": {
                "gpu": {"count": 1, "hourly_cost": 1.0},
                "other": {"count": count, "hourly_cost": hourly_cost},
            },
        },
        "models": [
            {"name": f"m{k}", "profile": f"m{k}", "slo_us": 1, **model} for k, model in enumerate(models)
        ],
        "planner": planner,
    }
    return validate(Scenario, document, Path("s.yaml"))


def test_a_demand_is_the_weight_and_survives_a_file():
    made = scenario({"rate_rps": 120}, {"rate_rps": 30.5})
    assert [model.weight for model in made.models] == [120, 30.5]
    again = validate(Scenario, made.model_dump(mode="json"), Path("plan.json"))
    assert again == made
    assert again.models[0].demanding(7.0).weight == 7.0


def test_a_demand_is_written_once_and_can_be_changed_there():
    written = scenario({"rate_rps": 120}).model_dump(mode="json")
    assert "weight" not in written["models"][0]
    written["models"][0]["rate_rps"] = 60.0
    assert validate(Scenario, written, Path("s.yaml")).models[0].weight == 60.0


@pytest.mark.parametrize(
    ("field", "value", "bounds"),
    [
        ("weight", 1e300, "from 1e-06 to 1e+09"),
        ("weight", 1e-8, "from 1e-06 to 1e+09"),
        ("rate_rps", 1e300, "from 1e-06 to 1e+09"),
        ("rate_rps", 1e-300, "from 1e-06 to 1e+09"),
        ("estimated_rps", 1e-300, "from 1e-06 to 1e+09"),
        ("slo_us", 0, "from 1 to 1e+10"),
        ("slo_ms", 1e-4, "from 0.001 to 1e+07"),
    ],
)
def test_figures_of_a_model_out_of_range_are_refused_with_the_range(field, value, bounds):
    with pytest.raises(BadInputError) as refused:
        scenario({field: value})
    # One line: a demand out of range is not called a weight too.
    assert str(refused.value) == f"s.yaml: models.0 ('m0').{field}: must be {bounds} (value {value!r})."


def test_rules_are_said_in_the_words_of_the_file():
    with pytest.raises(BadInputError, match=r"models: needs at least 1 \(value \[\]\)\. Add at least one"):
        scenario()
    with pytest.raises(
        BadInputError, match=r"name: is not a name as it may stand here \(value 'a b'\)\. Use"
    ):
        scenario({"name": "a b"})
    with pytest.raises(BadInputError, match="objective: must be 'throughput', 'cost' or 'energy'"):
        scenario({}, objective="speed")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"count": 10**12}, "count: must be from 0 to 100000"),
        ({"hourly_cost": 1e300}, r"hourly_cost: must be 0, or from 1e-06 to 1e\+09"),
        ({"hourly_cost": -1.0}, "hourly_cost: must be 0, or from"),
    ],
)
def test_figures_of_a_class_out_of_range_are_refused_with_the_range(classes, message):
    with pytest.raises(BadInputError, match=message):
        scenario({}, **classes)


def test_without_demands_weights_are_as_given():
    assert [model.weight for model in scenario({"weight": 2.0}, {}).models] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (({"rate_rps": 5.0, "weight": 2.0},), {}, "not both"),
        (({"rate_rps": 5.0}, {}), {}, "m0 give rate_rps, m1 do not"),
        (({"weight": 1e6}, {"weight": 1e-4}), {}, r"weight of m0 \(=1e\+06\) must be at most 1e\+09 times"),
        (({"rate_rps": 0.0},), {}, "rate_rps"),
        (({"weight": 1.0},), {"objective": "cost"}, "give rate_rps to m0"),
        (({"rate_rps": 5.0},), {"objective": "cost"}, "give hourly_cost to other"),
        (({"rate_rps": 5.0},), {"objective": "speed"}, "objective"),
    ],
)
def test_what_does_not_fit_together_is_refused(models, settings, message):
    with pytest.raises(BadInputError, match=message):
        scenario(*models, **settings)


def test_a_class_without_devices_needs_no_price():
    made = scenario({"rate_rps": 5.0}, count=0, objective="cost")
    assert made.planner.objective == "cost"
