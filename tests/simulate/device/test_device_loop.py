"""One shared device simulated: by hand, against queueing theory, and with nothing left over."""

import math

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.simulate.device.device_loop import DeviceLoop, Overheads
from penstock.simulate.device.interference import Interference
from penstock.simulate.device.mixes import (
    JobArrivals,
    SharedModel,
    cut_by_rule,
    draw_jobs,
    eight_models,
    equal_work,
    mean_own_us,
    with_slo,
)
from penstock.simulate.device.service_shares import ServiceShares, jain_index
from penstock.simulate.device.setups import SETUPS, Setup

ONE_AT_A_TIME = Interference(1.0)


def jobs_at(*moments: tuple[float, int]) -> JobArrivals:
    times, kinds = zip(*moments, strict=True)
    return JobArrivals(np.array(times, float), np.array(kinds, np.int64))


def test_speeds_by_hand() -> None:
    assert Interference(0.5).speed(1) == 1
    assert Interference(0.5).speed(3) == 0.5  # 1 / (1 + 0.5 x 2)
    assert Interference(1.0).capacity(7) == pytest.approx(1)  # taking turns: no gain
    assert Interference(0.0, lanes=2).speed(4) == 0.5
    assert Interference(0.1, lanes=2).capacity(2) == pytest.approx(2 / 1.1)
    for a, lanes in ((1.5, None), (0.5, 0)):
        with pytest.raises(BadInputError):
            Interference(a, lanes)


def test_two_jobs_slow_each_other_while_both_run() -> None:
    # a = 0.5: two at once run at 1/1.5. Job 0 (100 us) is alone until 30, has 70 left; job 1 (20 us) takes 30
    # us beside it, to 60, while job 0 does 20; then 50 are left: job 0 ends at 110.
    models = [SharedModel("long", (100.0,)), SharedModel("short", (20.0,))]
    record = Setup("fifo", window=2).run(models, jobs_at((0, 0), (30, 1)), Interference(0.5))
    assert record.end_us == pytest.approx([110, 60])
    assert record.latency_us == pytest.approx([110, 30])


def test_srpt_preempts_at_the_end_of_a_segment_and_parts_sum_to_the_latency() -> None:
    models = [SharedModel("long", (50.0, 50.0)), SharedModel("short", (20.0,))]
    costs = Overheads(decide_us=1, launch_us=2, notice_us=3)
    record = Setup("srpt").run(models, jobs_at((0, 0), (10, 1)), ONE_AT_A_TIME, overheads=costs)
    # Long: starts at 3, ends at 53, noticed at 56. Short: 56 + 3 + 20 + 3 = 82. Long again: 82 + 3 + 50 + 3 = 138.
    assert record.end_us == pytest.approx([138, 82])
    assert record.parts[:, 0] == pytest.approx([0, 2, 4, 100, 6, 26])
    assert record.parts[:, 1] == pytest.approx([46, 1, 2, 20, 3, 0])
    assert record.parts.sum(axis=0) == pytest.approx(record.latency_us)


def test_fifo_waits_as_theory_says() -> None:
    # Pollaczek-Khinchine: waiting = load x E[S^2] / E[S] / 2 / (1 - load), whole jobs, Poisson, one server.
    models = [SharedModel("a", (1000.0,), 0.7), SharedModel("b", (4000.0,), 0.3)]
    mean, square, load = 1900.0, 0.7e6 + 0.3 * 16e6, 0.6
    expected = load * square / mean / 2 / (1 - load)
    waits = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        arrivals = draw_jobs(models, load * 1e6 / mean, 4000, rng)
        record = Setup("fifo", cut=False).run(models, arrivals, ONE_AT_A_TIME)
        waits.append(record.parts[0].mean())
    assert np.mean(waits) == pytest.approx(expected, abs=3 * np.std(waits) / math.sqrt(7))


def test_processor_sharing_does_not_care_how_service_is_distributed() -> None:
    # M/G/1 processor sharing: mean latency = E[S] / (1 - load), and E[S | s] = s / (1 - load) for every size s.
    models = [SharedModel("a", (1000.0,), 0.8), SharedModel("b", (6000.0,), 0.2)]
    load = 0.5
    stretches = [[], []]
    for seed in range(8):
        arrivals = draw_jobs(models, load * 1e6 / 2000, 4000, np.random.default_rng(seed))
        record = SETUPS["direct-ms"].run(models, arrivals, ONE_AT_A_TIME)
        for model in (0, 1):
            stretches[model].append(record.mean_us(model) / models[model].own_us)
    for of_model in stretches:
        assert np.mean(of_model) == pytest.approx(1 / (1 - load), abs=3 * np.std(of_model) / math.sqrt(7))


@pytest.mark.parametrize("name", SETUPS)
def test_every_setup_ends_every_job_and_holds_nothing_then(name: str) -> None:
    models = with_slo(cut_by_rule(eight_models()), 5)
    arrivals = draw_jobs(models, 1.1e6 / mean_own_us(models), 300, np.random.default_rng(5))
    setup = SETUPS[name]
    policy = setup.policy(models)
    record = DeviceLoop(policy, setup.models(models), Interference(0.6)).run(arrivals)
    assert np.isfinite(record.end_us).all()
    assert policy.is_idle()
    assert policy.holds_nothing()
    assert record.parts.sum(axis=0) == pytest.approx(record.latency_us)
    assert (record.latency_us >= record.own_us[record.model] - 1e-6).all()


def test_few_copies_never_stop_the_device() -> None:
    models = with_slo(cut_by_rule(eight_models()), 5)
    arrivals = draw_jobs(models, 1.2e6 / mean_own_us(models), 300, np.random.default_rng(6))
    for name in SETUPS:
        setup = Setup(SETUPS[name].order, SETUPS[name].late, window=3, copies=1)
        record = setup.run(models, arrivals, Interference(0.6))
        assert np.isfinite(record.end_us).all(), name


def test_late_jobs_that_are_dropped_are_counted_and_miss() -> None:
    models = [SharedModel("a", (100.0,), slo_us=150)]
    record = Setup("edf", late="drop").run(models, jobs_at((0, 0), (0, 0), (0, 0)), ONE_AT_A_TIME)
    assert record.end_us.tolist() == [100, math.inf, math.inf]
    assert record.given_up == 2
    assert record.attainment() == pytest.approx(1 / 3)


def test_drawn_jobs_have_the_nominal_rate_and_shares_of_equal_work() -> None:
    models = equal_work([SharedModel("a", (1000.0,)), SharedModel("b", (4000.0,))])
    arrivals = draw_jobs(models, 250.0, 3000, np.random.default_rng(1), sigma=2.0)
    assert (len(arrivals.model) - 1) / (arrivals.arrival_us[-1] / 1e6) == pytest.approx(250)
    assert np.mean(arrivals.model == 0) == pytest.approx(0.8, abs=0.03)  # 1/1 against 1/4
    with pytest.raises(BadInputError, match="jobs"):
        draw_jobs(models, 0.0, 10, np.random.default_rng(1))


def test_the_cutting_rule_by_hand() -> None:
    models = [SharedModel(name, (us,)) for name, us in (("a", 10.0), ("b", 24.0), ("c", 26.0), ("d", 500.0))]
    assert [len(model.segment_us) for model in cut_by_rule(models)] == [1, 2, 3, 8]


def test_service_shares_by_hand() -> None:
    # For 10 us both types are here and only type 0 runs; then both run.
    shares = ServiceShares(2)
    shares.came(0)
    shares.came(1)
    shares.started(0)
    shares.passed(10)
    shares.started(1)
    shares.passed(10)
    assert shares.got_us == [15, 5]
    assert shares.fair_us == [10, 10]
    assert shares.jain() == pytest.approx(20**2 / (2 * (15**2 + 5**2)))
    shares.left(1)
    shares.passed(100)  # alone: nothing to be fair about
    assert shares.fair_us == [10, 10]
    assert jain_index([3, 3, 3]) == pytest.approx(1)
    assert jain_index([9, 0, 0]) == pytest.approx(1 / 3)
