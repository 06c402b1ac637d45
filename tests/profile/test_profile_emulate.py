"""A class made from another by factors, and labelled as such."""

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.profile.emulate import derive_slower
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

PROFILE = Profile(
    model="toy",
    blocks=(Block("a", (), 0, 0), Block("b", (), 0, 0)),
    boundary_bytes=(1, 2, 3),
    tables={
        ("fast", 1): LatencyTable(np.array([[100, 200], [7, 9]]), np.array([[110, 210], [8, 9]]), 30),
        ("fast", 2): LatencyTable(np.array([[150], [10]])),
    },
    provenance=Provenance("measured", "a CPU", "onnxruntime", "2025-01-31"),
    whole_us={"fast": 107},
)


def test_every_share_is_scaled_by_block_and_rounded_up() -> None:
    derived = derive_slower(PROFILE, "fast", "slow", np.array([1.1, 2.5]), "P4 against L4")
    slow = derived.table("slow", 1)
    # 100 * 1.1 is 110.00000000000001 in floating point, and still 110 us.
    np.testing.assert_array_equal(slow.latency_us, [[110, 220], [18, 23]])
    # Held to the table: the source's noise is not the class's.
    assert slow.p99_us is None
    np.testing.assert_array_equal(derived.table("slow", 2).latency_us, [[165], [25]])
    assert derived.table("fast", 1) is PROFILE.table("fast", 1)
    assert derived.whole_us == {"fast": 107, "slow": 128}


def test_the_class_is_labelled() -> None:
    derived = derive_slower(PROFILE, "fast", "slow", np.array([1.1, 2.5]), "P4 against L4")
    origin = derived.provenance_of("slow")
    assert origin.kind == "predicted"
    assert origin.note == "emulated: fast times 1.10-2.50 by block; P4 against L4"
    assert origin.device == "slow, emulated on a CPU"
    assert derived.provenance_of("fast") == PROFILE.provenance


@pytest.mark.parametrize(
    ("source", "new", "factors", "message"),
    [
        ("none", "slow", [1.0, 1.0], r"'none' has no latencies to derive from \(it has fast\)"),
        ("fast", "fast", [1.0, 1.0], "'fast' exists already"),
        ("fast", "slow", [1.0], "must be 2 finite numbers"),
        ("fast", "slow", [1.0, 0.0], "above 0"),
        ("fast", "slow", [1.0, float("nan")], "finite"),
    ],
)
def test_bad_arguments(source: str, new: str, factors: list[float], message: str) -> None:
    with pytest.raises(BadInputError, match=message):
        derive_slower(PROFILE, source, new, np.array(factors))
