"""The ground-truth simulator: obeys its machine, repeats itself, has the tails and the dependence that it claims."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.fidelity.sojourns import stays_by_state
from penstock.traffic.machine import find_violations, known_machine
from penstock.traffic.truth import TRUTH_CLASSES, simulate_mix, simulate_truth


@pytest.mark.parametrize(
    ("machine", "klass"), [(m, k) for m, classes in TRUTH_CLASSES.items() for k in classes]
)
def test_no_stream_breaks_its_machine(machine, klass):
    streams = simulate_truth(machine, 40, klass)
    assert find_violations(streams, known_machine(machine)).events == 0
    assert len(streams) == 40
    assert streams.classes[streams.klass[0]] == klass
    assert streams.window_us == 3_600_000_000


def test_a_stream_depends_on_seed_and_number_alone():
    few, many = simulate_truth(streams=10), simulate_truth(streams=50)
    assert many.time_us[: few.n_events].tolist() == few.time_us.tolist()
    assert many.event[: few.n_events].tolist() == few.event.tolist()
    assert simulate_truth(streams=10, seed=2).time_us.tolist() != few.time_us.tolist()
    assert simulate_truth(streams=10, klass="tablet").time_us.tolist() != few.time_us.tolist()


def test_about_71_events_heavy_tails_and_serial_dependence():
    streams = simulate_truth(streams=3_000)
    assert streams.sizes.mean() == pytest.approx(71, abs=3)
    stays = stays_by_state(streams, known_machine("lte"))
    idle_s = np.sort(stays["IDLE"].length_us / 1e6)
    # Kolmogorov and Smirnov against the exponential of the same mean: 1.36 / sqrt(n) would be its 5% point.
    fitted = 1 - np.exp(-idle_s / idle_s.mean())
    distance = np.abs(fitted - np.arange(1, len(idle_s) + 1) / len(idle_s)).max()
    assert distance > 10 * 1.36 / np.sqrt(len(idle_s))
    assert stays["IDLE"].lag_1() == pytest.approx(0.48, abs=0.02)
    assert abs(stays["CONNECTED"].lag_1()) < 0.07


def test_hours_and_mixes():
    quiet, busy = simulate_truth(streams=500, hour=3), simulate_truth(streams=500, hour=18)
    assert quiet.sizes.mean() < 0.6 * busy.sizes.mean()
    both = simulate_mix("lte", {"phone": 5, "tablet": 3})
    assert np.bincount(both.klass, minlength=3).tolist() == [5, 0, 3]
    assert simulate_truth(streams=3, hours=2).window_us == 7_200_000_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"machine": "ngap"}, "machine 'ngap' has no simulator"),
        ({"klass": "fridge"}, "class 'fridge' is unknown"),
        ({"hour": 24}, "hour"),
        ({"streams": 0}, "streams"),
    ],
)
def test_refused(arguments, message):
    with pytest.raises(BadInputError, match=message):
        simulate_truth(**arguments)
