"""What is run when devices and hosts go and come back, step by step, with verbs that end when the test says so."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from started_command import Started

from penstock.serve.engine.command import verb
from penstock.serve.engine.replan_on_loss import AGAIN_US, ReplanOnLoss, lost_option, used_by

RUN = Path("/run")
AFTER_US = 1_000
USES = frozenset({"L4:host1", "T4:host0", "T4:3"})


@pytest.fixture
def started():
    return []


@pytest.fixture
def notes():
    return []


@pytest.fixture
def replan(started, notes):
    def start(arguments):
        started.append(Started(arguments))
        return started[-1]

    return ReplanOnLoss("plan.json", USES, RUN, AFTER_US, notes.append, start)


def gone(*hosts):
    return frozenset(hosts)


def test_hosts_are_named_as_replan_names_them():
    assert lost_option("L4:3") == "L4:host3"


def test_a_loss_is_replanned_then_switched_to_then_taken_back(replan, started):
    replan.turn(0, gone())
    replan.turn(10, gone("L4:host1"))
    replan.turn(10 + AFTER_US - 1, gone("L4:host1"))
    assert started == []
    replan.turn(10 + AFTER_US, gone("L4:host1"))
    new = str(RUN / "replanned-1.json")
    assert started[0].words == ["replan", "plan.json", "--lost", "L4:host1", "-o", new]
    replan.turn(2_000, gone("L4:host1"))
    assert len(started) == 1  # it runs
    started[0].result = ""
    replan.turn(3_000, gone("L4:host1"))
    assert started[1].words == ["switch", new, "--run", "/run"]
    started[1].result = ""
    replan.turn(4_000, gone("L4:host1"))
    replan.turn(9_000, gone("L4:host1"))
    assert len(started) == 2  # done: the plan fits
    replan.turn(10_000, gone())
    replan.turn(10_000 + AFTER_US, gone())
    assert started[2].words == ["switch", "plan.json", "--run", "/run"]


def test_a_host_that_comes_back_in_time_changes_nothing(replan, started):
    replan.turn(0, gone("L4:host1"))
    replan.turn(AFTER_US - 1, gone())
    replan.turn(10 * AFTER_US, gone())
    assert started == []


def test_two_hosts_are_planned_around_together(replan, started):
    replan.turn(0, gone("L4:host1"))
    replan.turn(AFTER_US - 1, gone("T4:host0", "L4:host1"))
    replan.turn(AFTER_US, gone("T4:host0", "L4:host1"))
    assert started == []  # the wait began anew
    replan.turn(2 * AFTER_US, gone("T4:host0", "L4:host1"))
    assert started[0].words[2:6] == ["--lost", "L4:host1", "--lost", "T4:host0"]


def test_a_plan_is_not_waited_for_if_another_host_is_lost_meanwhile(replan, started):
    """It would use that host."""
    both = gone("T4:host0", "L4:host1")
    replan.turn(0, gone("L4:host1"))
    replan.turn(AFTER_US, gone("L4:host1"))
    replan.turn(AFTER_US + 1, both)
    assert started[0].killed
    replan.turn(2 * AFTER_US, both)
    assert len(started) == 1
    replan.turn(2 * AFTER_US + 1, both)
    assert started[1].words[2:6] == ["--lost", "L4:host1", "--lost", "T4:host0"]


def test_a_plan_is_not_waited_for_if_the_host_is_back(replan, started):
    replan.turn(0, gone("L4:host1"))
    replan.turn(AFTER_US, gone("L4:host1"))
    replan.turn(AFTER_US + 1, gone())
    assert started[0].killed
    replan.turn(10 * AFTER_US, gone())
    assert len(started) == 1


def test_devices_and_hosts_are_planned_around_by_the_same_plan(replan, started):
    replan.turn(0, gone("T4:3", "L4:host1"))
    replan.turn(AFTER_US, gone("T4:3", "L4:host1"))
    assert started[0].words[1:6] == ["plan.json", "--lost", "L4:host1", "--lost", "T4:3"]


def test_without_a_time_the_commands_are_named_only(started, notes):
    replan = ReplanOnLoss("plan.json", USES, RUN, None, notes.append, started.append)
    for now_us, lost in enumerate((gone(), gone("T4:3"), gone("T4:3"), gone())):
        replan.turn(now_us * 10**9, lost)
    assert started == []
    assert notes == [
        "to plan without: penstock replan plan.json --lost T4:3 -o NEW, then penstock switch NEW"
    ]


def test_a_plan_that_somebody_switched_to_is_what_is_replanned(replan, started):
    """It may use what is lost: so it is planned anew, and a search for the plan before it ends."""
    replan.turn(0, gone("T4:3"))
    replan.turn(AFTER_US, gone("T4:3"))
    replan.served("other.json", USES)
    assert started[0].killed
    replan.turn(2 * AFTER_US, gone("T4:3"))
    assert started[1].words[:2] == ["replan", "other.json"]


def test_a_plan_that_was_switched_to_from_here_is_not_taken_for_another(replan, started):
    """The server says that it has switched before the verb ends, which waits until the old plan has drained."""
    replan.turn(0, gone("T4:3"))
    replan.turn(AFTER_US, gone("T4:3"))
    started[0].result = ""
    replan.turn(AFTER_US, gone("T4:3"))
    replan.served(started[1].words[1], frozenset())
    assert not started[1].killed
    started[1].result = ""
    replan.turn(AFTER_US, gone("T4:3"))
    replan.turn(3 * AFTER_US, gone())
    replan.turn(4 * AFTER_US, gone())
    assert started[2].words[:2] == ["switch", "plan.json"]


def test_what_the_plan_does_not_use_may_be_lost(replan, started):
    """A host that was given back after a switch to a smaller plan, for one."""
    replan.turn(0, gone("L4:host7"))
    replan.turn(AFTER_US, gone("L4:host7"))
    replan.served("smaller.json", frozenset({"T4:3"}))
    replan.turn(2 * AFTER_US, gone("L4:host1"))
    replan.turn(3 * AFTER_US, gone("L4:host1"))
    assert started == []
    replan.turn(4 * AFTER_US, gone("L4:host1", "T4:3"))
    replan.turn(5 * AFTER_US, gone("L4:host1", "T4:3"))
    assert started[0].words[1:4] == ["smaller.json", "--lost", "T4:3"]


def test_a_plan_uses_its_real_devices_and_its_hosts():
    device = SimpleNamespace(in_plan="L4:2")
    spec = SimpleNamespace(
        worker_devices=(device, None), device_needs=(), worker_hosts=("L4:1", "L4:1", "T4:0")
    )
    assert used_by(spec) == {"L4:2", "L4:host1", "T4:host0"}


def test_the_same_failure_is_said_once(replan, started, notes):
    now_us = 0
    replan.turn(now_us, gone("T4:3"))
    for turn in range(3):
        now_us += AGAIN_US
        replan.turn(now_us, gone("T4:3"))
        started[turn].result = "no plan is possible"
        replan.turn(now_us, gone("T4:3"))
    assert sum("no plan is possible" in note for note in notes) == 1


def test_a_verb_that_fails_ends_with_the_last_line_that_it_said():
    running = verb(["replan", "no-such-file.json"])
    while (said := running.ended()) is None:
        time.sleep(0.02)
    assert "no-such-file.json" in said


@pytest.mark.parametrize("step", [0, 1])
def test_what_fails_is_tried_again_later(replan, started, step):
    replan.turn(0, gone("L4:host1"))
    replan.turn(AFTER_US, gone("L4:host1"))
    for turn in range(step):
        started[turn].result = ""
        replan.turn(AFTER_US, gone("L4:host1"))
    started[step].result = "no plan is possible"
    replan.turn(AFTER_US, gone("L4:host1"))
    replan.turn(AFTER_US + AGAIN_US - 1, gone("L4:host1"))
    assert len(started) == step + 1
    replan.turn(AFTER_US + AGAIN_US, gone("L4:host1"))
    assert started[-1].words[0] == "replan"
    assert len(started) == step + 2


def test_what_runs_at_the_end_is_ended(replan, started):
    replan.turn(0, gone("L4:host1"))
    replan.turn(AFTER_US, gone("L4:host1"))
    replan.close()
    assert started[0].killed
