"""One repetition of two of the faults of ``benchmarks/faults.py``, at a light load."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from faults_parts import faults, overload
from faults_parts.trial import Answer, Trial


@pytest.mark.slow
@pytest.mark.parametrize("name", ["half a pool killed", "worker hangs"])
def test_every_request_is_answered_right(name):
    """How soon the server is as good as before, and how many deadlines that costs, depends on the machine."""
    trial = faults.trial(faults.FAULTS[name], 4.0, 0.4)
    assert len(trial.answers) > 30
    assert (trial.wrong, trial.lost, trial.left) == (0, 0, [])
    assert set(trial.errors) <= {503, 504}


def test_when_a_server_is_good_again_is_read_from_its_answers():
    """Sent each tenth of a second; late from 2.0 to 3.1 s: the last bad half second ends at 3.5 s, 1.5 s after."""
    answers = [Answer(at / 10, 9.0 if 20 <= at <= 31 else 0.1, 200, is_right=True) for at in range(60)]
    trial = Trial(answers, fault_s=2.0)
    assert trial.back_s == 1.5
    assert trial.attainment(0.0, 2.0) == 1.0
    assert trial.attainment(2.0, 3.0) == 0.0


def test_goodput_under_overload_is_a_share_of_its_peak():
    flat = overload.Overload({0.9: 90.0, 1.0: 100.0, 1.5: 97.0, 3.0: 96.0}, 0, 0, [])
    assert (flat.least, flat.broken) == (0.96, [])
    falls = overload.Overload({0.9: 90.0, 1.0: 100.0, 1.5: 97.0, 3.0: 40.0}, 1, 0, [])
    assert falls.broken == ["goodput falls to 40.0% of its peak", "wrong answers"]
