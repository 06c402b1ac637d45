"""Busy shares of workers and of device classes."""

from __future__ import annotations

import numpy as np
import pytest
from record_builder import toy_record

from penstock.report.utilisation import utilisation, utilisation_by_class


def test_busy_share_of_the_whole_record():
    # From 0 to 2.06 s: worker 0 works 10 + 60 ms, worker 1 20 ms, worker 2 nothing.
    assert utilisation(toy_record(), 3) == pytest.approx([0.07 / 2.06, 0.02 / 2.06, 0.0])


def test_a_window_takes_the_part_inside():
    busy = utilisation(toy_record(), 2, start_us=1_010_000, stop_us=2_030_000)
    assert busy == pytest.approx([0.03 / 1.02, 0.01 / 1.02])


def test_classes_weigh_workers_by_their_share_and_count_idle_devices():
    # Two workers on halves of one device (0.6 and 0.2), one on a whole one (0.5); three more devices idle.
    busy = utilisation_by_class(
        np.array([0.6, 0.2, 0.5]), ["a", "a", "b"], [2, 2, 1], {"a": 1, "b": 4, "c": 0}
    )
    assert busy == pytest.approx({"a": 0.4, "b": 0.125})
