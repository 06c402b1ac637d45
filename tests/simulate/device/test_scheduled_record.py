"""The record of a scheduled plan: rows by hand, utilisation of devices that take turns, and the verbs that use it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from one_l4 import one_l4
from penstock.cli.main import cli
from penstock.errors import BadInputError
from penstock.plan.documents.plan import Plan
from penstock.plan.documents.store import save_plan
from penstock.plan.questions.tail_latency import profile_doubts
from penstock.plan.scheduled.scheduled_plan import scheduled_plan
from penstock.profile.store import save_profile
from penstock.record import Outcome, Record
from penstock.report.pools import pool_uses
from penstock.report.utilisation import busy_by_turns
from penstock.simulate.device.scheduled_record import simulate_scheduled
from penstock.traffic.arrivals import Arrivals

A, B = 0, 1


def recorded(
    arrival_us: list[int], model: list[int], *, devices: int = 1, **costs: int
) -> tuple[Record, Plan]:
    scenario, profiles = one_l4(devices=devices)
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    arrivals = Arrivals(np.array(arrival_us), np.array(model))
    return simulate_scheduled(plan, profiles, arrivals, **costs), plan


def test_a_short_job_takes_its_turn_between_segments_of_a_long_one() -> None:
    # b has 8 segments of 7.5 ms. a comes at 1 ms, runs after the first of them, and b ends 4 ms later than alone.
    record, plan = recorded([0, 1_000], [B, A])
    assert record.models == ("a", "b")
    assert record.requests.finish_us.tolist() == [64_000, 11_500]
    assert record.requests.outcome.tolist() == [Outcome.MET, Outcome.MET]
    assert record.requests.deadline_us.tolist() == [300_000, 21_000]
    batches = record.batches
    assert batches.queued_us.tolist() == [0, 1_000]
    assert batches.start_us.tolist() == [0, 7_500]
    assert batches.end_us.tolist() == [64_000, 11_500]
    assert batches.worker.tolist() == [0, 0]
    # The two times overlap, and the device was busy for 64 ms of them: the first 10 ms, then 54 of 90.
    assert busy_by_turns(record, 1, 0, 128_000).tolist() == [0.5]
    assert busy_by_turns(record, 1, 0, 10_000).tolist() == [1.0]
    assert busy_by_turns(record, 1, 10_000, 100_000).tolist() == [0.6]
    (use,) = pool_uses(record, plan)
    assert (use.batches, use.mean_batch, use.utilisation) == (2, 1.0, 1.0)


def test_costs_are_counted_and_late_is_late() -> None:
    # 0.1 ms before each of 8 segments and 1 ms at the end: 60.8 + 1. a waits for the first segment and its cost.
    record, _ = recorded([0], [B], dispatch_us=100, overhead_us=1_000)
    assert record.requests.finish_us.tolist() == [61_800]
    # Six jobs of 4 ms at once and 20 ms for each: the last misses.
    record, _ = recorded([0] * 6, [A] * 6)
    assert sorted(record.requests.finish_us.tolist()) == [4_000 * n for n in range(1, 7)]
    assert np.bincount(record.requests.outcome).tolist() == [5, 1]


def test_the_worker_is_the_device() -> None:
    record, plan = recorded([0, 1, 2], [B, A, A], devices=2)
    assert plan.devices == (("L4", 0), ("L4", 1))
    assert record.batches.worker.tolist() == [0, 1, 1]
    assert record.requests.pipeline.tolist() == [0, 0, 0]
    assert busy_by_turns(record, 2, 0, 80_000).tolist() == [0.75, 0.1]


def test_requests_with_slos_of_their_own_are_refused() -> None:
    scenario, profiles = one_l4()
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    arrivals = Arrivals(np.array([0]), np.array([A]), slo_us=np.array([5_000]))
    with pytest.raises(BadInputError, match="one SLO each"):
        simulate_scheduled(plan, profiles, arrivals)


@pytest.fixture
def plan_file(tmp_path: Path) -> Path:
    scenario, profiles = one_l4(devices=2)
    for name, profile in profiles.items():
        save_profile(profile, tmp_path / name)
    save_plan(scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01), tmp_path / "plan.json")
    return tmp_path / "plan.json"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_simulate_and_report_take_a_scheduled_plan(plan_file: Path, tmp_path: Path) -> None:
    done = run("simulate", plan_file, "--load", 0.5, "--seconds", 10, "-o", tmp_path / "run", "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["policy"] == "moore-hodgson"
    assert [model["name"] for model in found["models"]] == ["a", "b"]
    # Half the load keeps the devices busy for half of the time: 10 s of Poisson arrivals scatter by a twentieth.
    assert found["utilisation"]["L4"] == pytest.approx(0.5, abs=0.15)
    pytest.importorskip("matplotlib")
    done = run("report", plan_file, tmp_path / "run", "-o", tmp_path / "report.html")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "report.html").read_text()
    assert "take turns on each device, in the order moore-hodgson" in page
    assert "Segments on L4:\na 1, b 8." in page


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--mode", "published"), "use --mode full"),
        (("--policy", "edf"), "leave out --policy edf"),
        (("--noise",), "leave out --noise"),
    ],
)
def test_options_that_do_not_apply_are_refused(plan_file: Path, options: tuple[str, ...], says: str) -> None:
    done = run("simulate", plan_file, *options)
    assert isinstance(done.exception, BadInputError)
    assert says in str(done.exception)


def test_doubts_of_a_profile_ask_for_the_whole_device_only() -> None:
    """A scheduled plan's ``share`` is the number of its models, and nobody measured such a share."""
    scenario, profiles = one_l4(devices=1)
    plan = scheduled_plan(scenario, profiles, bound=0.0, miss_budget=0.01)
    whole = {
        name: replace(one, tables={key: table for key, table in one.tables.items() if key[1] == 1})
        for name, one in profiles.items()
    }
    assert profile_doubts(plan, whole) == []
