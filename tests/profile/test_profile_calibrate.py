"""Calibration: known efficiencies are found again, and carry over to a class that was not measured."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph, Operator, Tensor
from penstock.profile.prediction.calibrate import Measured, calibrate
from penstock.profile.prediction.device_catalogue import DeviceSpec, device_spec
from penstock.profile.prediction.efficiency import DEFAULT_TABLE, Efficiency, EfficiencyTable
from penstock.profile.prediction.predict import predict
from penstock.profile.table import LatencyTable

TRUE = EfficiencyTable(
    {
        **DEFAULT_TABLE.groups,
        "convolution": Efficiency(vector=0.42, tensor=0.24, bandwidth=0.8),
        "elementwise": Efficiency(bandwidth=0.5),
    },
    launch_us=4.0,
    source="chosen",
)


def model(size: float = 1.0) -> ModelGraph:
    """Pairs of a convolution bound by arithmetic and an elementwise operator bound by memory, of several sizes."""
    operators, tensors = [], {"t0": Tensor("t0", "float32", (-1, 1), True, round(4e6 * size))}
    for pair in range(8):
        middle, end = f"m{pair}", f"t{pair + 1}"
        moved = round(1_000_000 * size * (pair + 1))
        for name in (middle, end):
            tensors[name] = Tensor(name, "float32", (-1, 1), True, moved)
        operators.append(
            Operator(
                f"conv{pair}", "Conv", (f"t{pair}",), (middle,), round(10**9 * size) * (pair % 3 + 1), 1000
            )
        )
        operators.append(Operator(f"relu{pair}", "Relu", (middle,), (end,), moved // 4, 0))
    return ModelGraph("toy", tuple(operators), tensors, ("t0",), ("t8",), {})


def measured_on(
    spec: DeviceSpec, boundaries: tuple[int, ...], table: EfficiencyTable = TRUE, size: float = 1.0
) -> Measured:
    made = predict(model(size), boundaries, [spec], 8, table=table)[spec.name, 1]
    return Measured(model(size), boundaries, spec, 1, made)


def test_known_efficiencies_are_found_from_blocks_of_mixed_operators() -> None:
    found = calibrate([measured_on(device_spec("T4"), (0, 1, 3, 4, 7, 10, 12, 16))], "a test")
    assert found.error_before > 0.1
    assert found.error_after < 0.02
    assert found.table.of("convolution", "T4").vector == pytest.approx(0.42, rel=0.05)
    assert found.table.of("elementwise", "T4").bandwidth == pytest.approx(0.5, rel=0.05)
    assert found.table.source == "a test"


def test_the_launch_is_found_where_it_is_most_of_the_time() -> None:
    # A thousandth of the work: launches of 4 us are nearly all of each operator.
    found = calibrate([measured_on(device_spec("T4"), (0, 3, 8, 16), size=0.001)], "a test")
    assert found.table.launch_us_on("T4") == pytest.approx(4.0, rel=0.1)


def test_what_was_not_measured_is_left_alone() -> None:
    found = calibrate([measured_on(device_spec("T4"), (0, 8, 16))], "a test")
    assert found.table.groups["recurrence"] == DEFAULT_TABLE.groups["recurrence"]
    # These convolutions are never bound by memory, so nothing is learned about their memory.
    assert found.table.groups["convolution"].bandwidth == pytest.approx(0.8, rel=0.01)


def test_an_unseen_class_is_predicted_better() -> None:
    boundaries = (0, 2, 5, 9, 16)
    # Three classes differ from the default in the same way. A third of it goes to the groups: 0.04 / (0.04 + 0.25 / 3).
    seen = [measured_on(device_spec(name), boundaries) for name in ("P4", "T4", "V100")]
    table = calibrate(seen, "three").table
    truth = measured_on(device_spec("L4"), boundaries).table.latency_us

    def error(using: EfficiencyTable) -> float:
        made = predict(model(), boundaries, [device_spec("L4")], 8, table=using)["L4", 1].latency_us
        return float(np.median(np.abs(np.log(made / truth))))

    assert error(DEFAULT_TABLE) > 0.2
    assert error(table) < 0.8 * error(DEFAULT_TABLE)
    # From a single class less carries over, but not nothing.
    assert error(calibrate(seen[1:2], "T4").table) < error(DEFAULT_TABLE)


def test_the_default_is_kept_where_it_is_right() -> None:
    found = calibrate([measured_on(device_spec("L4"), (0, 4, 16), DEFAULT_TABLE)], "L4")
    assert found.table.launch_us == pytest.approx(DEFAULT_TABLE.launch_us, rel=0.02)
    assert found.error_before == 0
    assert found.error_after < 0.01  # tables are whole microseconds, which it follows a little


def test_what_all_of_a_class_has_in_common_stays_with_it() -> None:
    """A T4 that is half as fast in everything says nothing about the groups, and so nothing about an L4."""
    slow = EfficiencyTable(
        {name: Efficiency(0.35, 0.2, 0.4) for name in DEFAULT_TABLE.groups}, DEFAULT_TABLE.launch_us, "slow"
    )
    table = calibrate([measured_on(device_spec("T4"), (0, 2, 5, 9, 16), slow)], "T4").table
    here, there = table.of("convolution", "T4"), table.of("convolution", "L4")
    assert here.vector == pytest.approx(0.35, rel=0.05)
    # Of log 2, the class's prior takes 0.5^2 parts and the group's 0.2^2: the group keeps about a seventh of it.
    assert there.vector == pytest.approx(0.7 * 0.5 ** (0.2**2 / (0.2**2 + 0.5**2)), rel=0.05)


def test_nothing_measured_is_refused() -> None:
    empty = replace(measured_on(device_spec("T4"), (0, 16)), table=LatencyTable(np.zeros((1, 2), np.int64)))
    with pytest.raises(BadInputError, match="nothing to calibrate from"):
        calibrate([empty], "nothing")
