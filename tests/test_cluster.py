"""The fleet: hosts are counted up, bandwidth may be overridden, an empty cluster is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.cluster import Cluster
from penstock.errors import BadInputError
from penstock.files import validate


def cluster(**classes: object) -> Cluster:
    return validate(Cluster, {"bandwidth_gbps": 10, "device_classes": classes}, Path("s.yaml"))


def test_the_last_host_may_hold_fewer() -> None:
    assert cluster(L4={"count": 25, "per_host": 4}).hosts_of("L4") == 7


def test_a_class_may_have_its_own_bandwidth() -> None:
    fleet = cluster(L4={"count": 1}, T4={"count": 1, "bandwidth_gbps": 25})
    assert (fleet.bandwidth_gbps_of("L4"), fleet.bandwidth_gbps_of("T4")) == (10, 25)


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({}, "cluster is empty"),
        ({"L4": {"count": 0}}, "cluster is empty"),
        ({"L4": {"count": -1}}, r"device_classes\.L4\.count: .*value -1"),
        ({"L4": {"count": 1, "memory_gib": 3}}, "memory_gib: unknown field"),
    ],
)
def test_bad_fleets_are_refused(classes: dict[str, object], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        cluster(**classes)
