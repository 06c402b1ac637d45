"""Lost devices under every planner: a fleet with lost devices plans as a fleet without them."""

from __future__ import annotations

import pytest
from toy_plans import toy_model, toy_profile, toy_scenario

from penstock.cluster import DeviceClass
from penstock.errors import BadInputError
from penstock.plan.documents.checker import check_plan
from penstock.plan.documents.lost_devices import without_lost
from penstock.plan.interfaces import SearchLimits
from penstock.plan.planners.by_name import PLANNERS

LIMITS = SearchLimits(gap=1e-6, time_limit_s=20.0)
PROFILES = {
    "m": toy_profile(
        "m", {("fast", 1): [[4000, 6000], [2000, 3000]], ("slow", 1): [[12000, 18000], [4000, 6000]]}
    ),
    "n": toy_profile(
        "n", {("fast", 1): [[3000, 5000], [3000, 5000]], ("slow", 1): [[6000, 9000], [9000, 14000]]}
    ),
}


def scenario(fast: DeviceClass, slow: DeviceClass):
    return toy_scenario(
        {"fast": fast, "slow": slow}, [toy_model("m", 60_000, weight=2.0), toy_model("n", 60_000)]
    )


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_lost_device_is_given_to_no_model(planner: str):
    whole = scenario(DeviceClass(count=6), DeviceClass(count=9))
    lost = scenario(DeviceClass(count=6, lost=(0, 3)), DeviceClass(count=9, lost=(1, 2, 8)))
    fewer = scenario(DeviceClass(count=4), DeviceClass(count=6))
    plan = PLANNERS[planner](LIMITS).plan(lost, PROFILES)
    check_plan(plan.solution, PROFILES)
    taken = {(worker.device_class, worker.device) for worker in plan.solution.placement}
    assert not taken & {("fast", 0), ("fast", 3), ("slow", 1), ("slow", 2), ("slow", 8)}
    # With one device a host no interface is shared, so only the number of devices in service counts.
    assert plan.objective == pytest.approx(PLANNERS[planner](LIMITS).plan(fewer, PROFILES).objective)
    assert plan.objective < PLANNERS[planner](LIMITS).plan(whole, PROFILES).objective


@pytest.mark.parametrize("planner", PLANNERS)
def test_a_class_whose_devices_are_all_lost_is_not_used(planner: str):
    lost = scenario(DeviceClass(count=4), DeviceClass(count=3, lost=(0, 1, 2)))
    plan = PLANNERS[planner](LIMITS).plan(lost, PROFILES)
    check_plan(plan.solution, PROFILES)
    assert {worker.device_class for worker in plan.solution.placement} == {"fast"}


@pytest.mark.parametrize(
    ("named", "fast", "slow"),
    [
        (["fast:5"], (1, 5), ()),
        (["fast:host1"], (1, 2, 3), ()),
        (["fast:0, slow:host1", "slow:0"], (0, 1), (0, 2)),
    ],
)
def test_devices_and_hosts_are_named_beside_those_that_are_lost_already(
    named: list[str], fast: tuple[int, ...], slow: tuple[int, ...]
):
    """Six fast devices, two to a host, of which 1 is lost; three slow ones, two to a host."""
    before = scenario(DeviceClass(count=6, per_host=2, lost=(1,)), DeviceClass(count=3, per_host=2))
    classes = without_lost(before, named).cluster.device_classes
    assert (classes["fast"].lost, classes["slow"].lost) == (fast, slow)


@pytest.mark.parametrize(
    ("named", "says"),
    [
        ("fast", "'fast' names no device"),
        ("L4:0", "no device class 'L4', only fast, slow"),
        ("fast:6", "'fast:6' does not exist: fast has devices 0 to 5"),
        ("slow:host2", "'slow:host2' does not exist: slow has devices 0 to 2, 2 to a host"),
    ],
)
def test_a_device_that_is_not_there_is_refused(named: str, says: str):
    before = scenario(DeviceClass(count=6), DeviceClass(count=3, per_host=2))
    with pytest.raises(BadInputError, match=says):
        without_lost(before, [named])
