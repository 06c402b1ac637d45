"""The search for the load held: on known functions, and that deadlines are judged over all draws."""

import numpy as np
import pytest

from penstock.simulate.device.held_load import Judge, largest_that_holds
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import SharedModel
from penstock.simulate.device.setups import Setup


@pytest.mark.parametrize("limit", [0.02, 0.1, 0.29, 0.3, 0.47, 0.8, 1.2])
def test_the_search_ends_just_below_the_limit(limit: float) -> None:
    found = largest_that_holds(lambda load: load <= limit, 0.01)
    assert limit - 0.01 <= found <= limit


def test_nothing_holds_and_a_second_stretch_is_not_taken() -> None:
    assert largest_that_holds(lambda load: False, 0.01) == 0
    assert largest_that_holds(lambda load: load < 0.5 or load > 0.9, 0.01) == pytest.approx(0.5, abs=0.011)


def test_jobs_that_only_just_fit_hold_up_to_the_load_at_which_two_meet() -> None:
    # SLO = 1.5 x own time, deterministic jobs, FIFO, one at a time: a job is late if it waits more than half a
    # job. With Poisson arrivals at load r, P(no wait) = 1 - r, so 90% hold up to a load between 0.1 and 0.2.
    judge = Judge.drawn(
        [SharedModel("a", (1000.0,), slo_us=1500)], Interference(1.0), jobs=4000, seeds=(1, 2)
    )
    over_all, every = judge.held_loads(Setup("fifo"), 0.9)
    assert over_all == every
    assert 0.1 <= over_all <= 0.2
    records = judge.records(Setup("fifo"), over_all)
    assert np.mean([record.attainment() for record in records]) >= 0.9
