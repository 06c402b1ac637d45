"""The emulated fleet and the gateway without HTTP of ``benchmarks/real_time.py``, on a plan of six workers."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from serve_cases import bytes_profile, write_plan

from penstock.plan.documents.store import load_plan
from penstock.record import Outcome
from penstock.traffic.arrivals import Arrivals

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from real_time_parts.run import figures, served, simulated, small_spec


@pytest.mark.slow
def test_a_light_load_is_met_as_the_simulator_says(tmp_path):
    """Objectives of half a minute: the machine may be busy."""
    profile = bytes_profile("sizes", (1_000_000, 500_000, 1_000_000), latency_us=20_000)
    loaded = load_plan(write_plan(tmp_path, profile, (0, 1, 2), workers=3, batch=2, slo_us=30_000_000))
    spec, table = small_spec(loaded.plan, loaded.profiles, tmp_path)
    assert {one.shape for model in spec.models for one in (*model.inputs, *model.outputs)} == {(-1, 64)}
    assert (table.transfer_us[1, 1:3] > 0).all()
    arrival_us = np.arange(0, 2_000_000, 20_000)
    arrivals = Arrivals(arrival_us, np.zeros(len(arrival_us), np.int64))
    expected = simulated(table, spec, arrivals, 500_000, 2_000_000)
    found = served(spec, arrivals, 500_000, 2_000_000)
    for one in (expected, found):
        assert (one.requests, one.attainment, one.outcomes) == (75, 1.0, {"met": 75})
    floor_ms = (2 * 20_000 + table.transfer_us[1, 1]) / 1e3
    assert min(expected.p50_ms, found.p50_ms) >= floor_ms
    assert set(found.cores) == {"dispatcher", "fleet", "gateway and load"}


def test_figures_are_of_the_time_after_the_warm_up():
    arrival_us = np.array([0, 1_000_000, 1_500_000, 3_000_000])
    outcome = np.array([Outcome.ERROR, Outcome.MET, Outcome.LATE, Outcome.MET], np.int64)
    found = figures(arrival_us, arrival_us + 10_000, outcome, 1_000_000, 3_000_000)
    assert (found.requests, found.attainment, found.goodput_rps) == (2, 0.5, 0.5)
    assert (found.p50_ms, found.outcomes) == (10.0, {"met": 1, "late": 1})
