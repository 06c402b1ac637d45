"""A plan of two small models whose stages can share pools, for the tests of several stations."""

from __future__ import annotations

from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.plan.plan import Plan
from penstock.plan.pools import PoolPlanner

GB = 10**9


def two_models(memory_gb: float | None = None) -> tuple[Plan, dict[str, object]]:
    """Both models run their first block on class "a" and their second on "b": a pool each, shared or not.

    A block takes 2 GB of parameters for model "m", 3 GB for "n", and 1 GB of activations a sample for either.
    """
    rows = {("a", 1): [[10_000], [90_000]], ("b", 1): [[90_000], [10_000]]}
    profiles = {
        name: toy_profile(
            name, rows, boundary_bytes=[0, 1_000, 0], parameter_bytes=gb * GB, activation_bytes=GB
        )
        for name, gb in (("m", 2), ("n", 3))
    }
    classes = {name: DeviceClass(count=4, per_host=2, memory_gb=memory_gb) for name in ("a", "b")}
    scenario = toy_scenario(classes, [toy_model("m", 30_000), toy_model("n", 25_000)])
    return PoolPlanner().plan(scenario, profiles).solution, profiles
