"""Scenarios: demands, weights and objectives that fit together, and clear refusals where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.errors import BadInputError
from penstock.files import validate
from penstock.plan.scenario import Scenario


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


def test_without_demands_weights_are_as_given():
    assert [model.weight for model in scenario({"weight": 2.0}, {}).models] == [2.0, 1.0]


@pytest.mark.parametrize(
    ("models", "settings", "message"),
    [
        (({"rate_rps": 5.0, "weight": 2.0},), {}, "not both"),
        (({"rate_rps": 5.0}, {}), {}, "m0 give rate_rps, m1 do not"),
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
