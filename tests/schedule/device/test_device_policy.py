"""The device policy by hand: who goes first, what can start, who is answered, and what is left at idle."""

import math

import pytest

from penstock.errors import BadInputError
from penstock.schedule.device import (
    ORDERS,
    DevicePolicy,
    JobType,
    JournalingDevicePolicy,
    Need,
    Progress,
    Release,
    ResourceWindow,
    replay_device,
)

SHORT, LONG = 0, 1
MODELS = [JobType("short", 1, stage_us=(10.0,)), JobType("long", 3, stage_us=(10.0, 10.0, 10.0))]


def released(policy: DevicePolicy, now_us: int) -> list[tuple[int, int]]:
    return [(one.job, one.stage) for one in policy.decide(now_us).releases]


def run_out(policy: DevicePolicy, now_us: int, stage_us: int = 10) -> list[int]:
    """Run one stage after another until nothing is left; the jobs in order of their ends."""
    ends = []
    for _ in range(1000):
        releases = policy.decide(now_us).releases
        if not releases:
            return ends
        for job, _, stage in releases:
            now_us += stage_us
            if policy.finished(now_us, job, stage) is Progress.DONE:
                ends.append(job)
    raise AssertionError("the policy never ran out of work")


def test_srpt_puts_a_short_job_between_the_stages_of_a_long_one() -> None:
    policy = DevicePolicy("srpt", "keep", 1, MODELS)
    policy.arrive(0, 7, LONG)
    assert policy.decide(0).releases == (Release(7, LONG, 0),)
    policy.arrive(1, 8, SHORT)
    assert released(policy, 1) == []  # the window of one is full
    policy.finished(10, 7, 0)
    assert released(policy, 10) == [(8, 0)]  # 10 us left against 20
    policy.finished(20, 8, 0)
    assert released(policy, 20) == [(7, 1)]


def test_sjf_lets_a_started_job_wait_for_every_shorter_one_and_fifo_does_not() -> None:
    for order, first in (("sjf", (8, 0)), ("fifo", (7, 1))):
        policy = DevicePolicy(order, "keep", 1, MODELS)
        policy.arrive(0, 7, LONG)
        policy.decide(0)
        policy.arrive(1, 8, SHORT)
        policy.finished(10, 7, 0)
        assert released(policy, 10) == [first]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        # Arrivals: long 0 (deadline 500), short 1 (400), long 2 (100), short 3 (450); priority of long is higher.
        ("fifo", [0, 1, 2, 3]),
        ("sjf", [1, 3, 0, 2]),
        ("srpt", [1, 3, 0, 2]),
        ("edf", [2, 1, 3, 0]),
        ("moore-hodgson", [2, 1, 3, 0]),
        ("priority", [0, 2, 1, 3]),
        # Stages in turn: 0, 1, 0, 3, then only long ones are left: 0 ends, then 2.
        ("round-robin", [1, 3, 0, 2]),
    ],
)
def test_each_order_by_hand(order: str, expected: list[int]) -> None:
    kinds = [MODELS[0], JobType("long", 3, priority=1, stage_us=(10.0, 10.0, 10.0))]
    policy = DevicePolicy(order, "demote" if order == "moore-hodgson" else "keep", 1, kinds)
    for job, (kind, deadline_us) in enumerate([(LONG, 500), (SHORT, 400), (LONG, 100), (SHORT, 450)]):
        policy.arrive(0, job, kind, deadline_us)
    assert run_out(policy, 0) == expected
    assert policy.is_idle()
    assert policy.holds_nothing()


def test_unknown_types_run_first_and_are_then_known_by_what_was_observed() -> None:
    policy = DevicePolicy("srpt", "keep", 1, [JobType("known", 1, stage_us=(5.0,)), JobType("new", 2)])
    policy.arrive(0, 1, 0)
    policy.arrive(0, 2, 1)
    policy.arrive(0, 3, 1)
    assert released(policy, 0) == [(2, 0)]
    policy.finished(8, 2, 0)  # stage 0 took 8 us; stage 1 is still unknown
    assert policy.expected_us(1) == -1
    assert released(policy, 8) == [(2, 1)]
    policy.finished(12, 2, 1)
    assert policy.expected_us(1) == 12
    assert released(policy, 12) == [(3, 0)]  # job 3 keeps the snapshot of its arrival: unknown, so first
    policy.arrive(13, 4, 1)
    policy.finished(28, 3, 0)  # (8 + 16) / 2 = 12
    assert policy.expected_us(1) == 12 + 4


def test_a_job_between_stages_holds_its_copy_and_others_of_its_type_wait() -> None:
    # One copy: job 0 has it, so job 1, which is due first, cannot start. SRPT that waits for job 1 would be stuck.
    kinds = [JobType("a", 2, copies=1, stage_us=(10.0, 30.0))]
    policy = DevicePolicy("edf", "keep", 2, kinds)
    policy.arrive(0, 0, 0, 900)
    assert released(policy, 0) == [(0, 0)]
    policy.arrive(1, 1, 0, 100)
    policy.finished(10, 0, 0)
    assert released(policy, 10) == [(0, 1)]
    policy.finished(40, 0, 1)
    assert released(policy, 40) == [(1, 0)]


def test_the_window_counts_segments_and_orders_fill_it() -> None:
    policy = DevicePolicy("fifo", "keep", 2, [JobType("a", 1, copies=9, stage_us=(10.0,))])
    for job in range(3):
        policy.arrive(0, job, 0)
    assert released(policy, 0) == [(0, 0), (1, 0)]
    policy.finished(10, 1, 0)
    assert released(policy, 10) == [(2, 0)]


def test_a_resource_window_overshoots_by_b_stages_and_no_more() -> None:
    # A device of 10 blocks, stages of 6: the first fits, the next two overshoot (B = 2), the fourth waits.
    window = ResourceWindow(Need(10), overshoot=2)
    policy = DevicePolicy(
        "fifo", "keep", window, [JobType("a", copies=9, stage_us=(10.0,), needs=(Need(6),))]
    )
    for job in range(5):
        policy.arrive(0, job, 0)
    assert released(policy, 0) == [(0, 0), (1, 0), (2, 0)]
    assert window.outstanding == 2
    assert window.used() == Need(18)
    policy.started(5, 1, 0)  # all blocks of job 1 have begun: one overshoot is given back
    assert released(policy, 5) == [(3, 0)]
    policy.finished(10, 0, 0)
    assert window.outstanding == 2
    assert released(policy, 10) == []
    for job in (1, 2, 3):
        policy.finished(20, job, 0)
    assert released(policy, 20) == [(4, 0)]
    policy.finished(30, 4, 0)
    assert window.used() == Need(0)
    assert policy.holds_nothing()


def test_strict_order_no_small_stage_slips_past_a_large_one() -> None:
    kinds = [
        JobType("large", stage_us=(9.0,), copies=3, needs=(Need(8),)),
        JobType("small", stage_us=(1.0,), needs=(Need(1),)),
    ]
    policy = DevicePolicy("fifo", "keep", ResourceWindow(Need(10), overshoot=0), kinds)
    for job, kind in enumerate([0, 0, 1]):
        policy.arrive(0, job, kind)
    assert released(policy, 0) == [(0, 0)]  # 2 blocks are free and job 2 would fit, but job 1 is first


def test_deficits_by_hand_and_their_sum() -> None:
    # Three types are queued, SRPT takes type 0 three times: it falls by 1 - 1/3 each time, the others rise by 1/3.
    kinds = [JobType(name, copies=9, stage_us=(us,)) for name, us in (("a", 1.0), ("b", 2.0), ("c", 3.0))]
    policy = DevicePolicy("srpt-deficit", "keep", 1, kinds, theta=1.0)
    order = policy._order
    for job in range(12):
        policy.arrive(0, job, job % 3)
    for turn in range(3):
        assert released(policy, turn) == [(3 * turn, 0)]
        assert sum(order.deficit(kind) for kind in range(3)) == pytest.approx(0, abs=1e-12)
        policy.finished(turn, 3 * turn, 0)
    assert [order.deficit(kind) for kind in range(3)] == pytest.approx([-2, 1, 1])
    assert released(policy, 3) == [(1, 0)]  # b and c reached theta = 1; b has the lower number


def test_theta_infinite_is_srpt() -> None:
    for theta, order in ((math.inf, "srpt-deficit"), (1.0, "srpt")):
        policy = DevicePolicy(order, "keep", 1, MODELS, theta=theta)
        for job in range(6):
            policy.arrive(0, job, job % 2)
        assert run_out(policy, 0) == [0, 2, 4, 1, 3, 5]


def test_late_jobs_are_kept_demoted_or_dropped() -> None:
    for late, ends, drops in (("keep", [0, 1], ()), ("demote", [1, 0], ()), ("drop", [1], (0,))):
        policy = DevicePolicy("edf", late, 1, MODELS)
        policy.arrive(0, 0, LONG, 20)  # needs 30 us: late from the start
        policy.arrive(0, 1, SHORT, 60)
        decision = policy.decide(0)
        assert decision.drops == drops
        job, _, stage = decision.releases[0]
        done = [job] if policy.finished(10, job, stage) is Progress.DONE else []
        assert done + run_out(policy, 10) == ends
        assert policy.holds_nothing()


def test_a_full_queue_and_an_unloaded_type_refuse_and_forget_nothing() -> None:
    policy = DevicePolicy("fifo", "keep", 1, MODELS, most_queued=2)
    assert policy.arrive(0, 0, LONG)
    assert policy.arrive(0, 1, LONG)
    assert not policy.arrive(0, 2, SHORT)
    policy.decide(0)
    assert policy.unload(LONG) == (0, 1)
    with pytest.raises(BadInputError, match="unloaded"):
        policy.arrive(1, 3, LONG)
    assert policy.finished(10, 0, 0) is Progress.CANCELLED
    assert policy.is_idle()
    assert policy.holds_nothing()
    policy.load(LONG)
    assert policy.arrive(11, 3, LONG)


def test_a_failed_stage_ends_the_job_and_frees_its_copy() -> None:
    policy = DevicePolicy("fifo", "keep", 1, MODELS)
    policy.arrive(0, 0, LONG)
    policy.decide(0)
    assert policy.failed(5, 0, 0)
    assert policy.is_idle()
    assert policy.holds_nothing()
    policy.arrive(6, 0, LONG)
    policy.decide(6)
    assert policy.cancel(0)
    assert not policy.cancel(0)
    assert not policy.failed(7, 0, 0)  # answered by cancel already
    assert policy.holds_nothing()


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda p: p.arrive(0, 0, 2), "job_type"),
        (lambda p: p.arrive(0, 5, 0) and p.arrive(0, 5, 0), "already"),
        (lambda p: p.finished(0, 9, 0), "not in flight"),
        (lambda p: p.unload(-1), "job_type"),
        (lambda p: DevicePolicy("best", "keep", 1, MODELS), "must be one of fifo"),
        (lambda p: DevicePolicy("edf", "wait", 1, MODELS), "keep, demote, drop"),
        (lambda p: DevicePolicy("moore-hodgson", "keep", 1, MODELS), "demote or drop"),
        (lambda p: DevicePolicy("edf", "keep", 0, MODELS), "window"),
        (lambda p: DevicePolicy("edf", "keep", 1, []), "types is empty"),
        (lambda p: JobType("x", 2, stage_us=(1.0,)), "stage_us"),
        (lambda p: JobType("x", 1, stage_us=(math.nan,)), "stage_us"),
        (lambda p: JobType("x", 1, stage_us=(math.inf,)), "stage_us"),
        (lambda p: p.arrive(0, 5, 0, 2**70), "deadline_us"),
    ],
)
def test_bad_calls_say_what_is_wrong(call, says: str) -> None:
    with pytest.raises(BadInputError, match=says):
        call(DevicePolicy("fifo", "keep", 1, MODELS))


@pytest.mark.parametrize("order", ORDERS)
def test_a_journal_replays(order: str) -> None:
    late = "demote" if order == "moore-hodgson" else "keep"
    journal = JournalingDevicePolicy(DevicePolicy(order, late, 2, MODELS))
    decisions = []
    now_us = 0
    for job in range(20):
        now_us += 7
        journal.arrive(now_us, job, job % 2, now_us + 60)
        decisions.append(journal.decide(now_us))
        if job % 5 == 4:
            journal.cancel(job - 1)
        if decisions[-1].releases:
            one = decisions[-1].releases[0]
            journal.finished(now_us + 3, one.job, one.stage)
    assert replay_device(DevicePolicy(order, late, 2, MODELS), journal.events) == decisions
    with pytest.raises(BadInputError, match="none of"):
        replay_device(DevicePolicy(order, late, 2, MODELS), [("stop", 3)])


@pytest.mark.parametrize("order", ORDERS)
def test_a_journal_replays_what_goes_wrong(order: str) -> None:
    """A type that is unloaded and comes back, a stage that fails: without any of these calls the decisions differ."""
    late = "demote" if order == "moore-hodgson" else "keep"
    journal = JournalingDevicePolicy(DevicePolicy(order, late, 2, MODELS))
    decisions = []
    for job, kind in enumerate((LONG, SHORT, LONG, SHORT)):
        journal.arrive(job, job, kind, 500)
    decisions.append(journal.decide(4))
    for one in decisions[0].releases:
        journal.started(5, one.job, one.stage)
        assert journal.failed(9, one.job, one.stage)
    assert journal.unload(LONG)
    decisions.append(journal.decide(10))
    journal.load(LONG)
    journal.arrive(11, 9, LONG, 500)
    for one in decisions[1].releases:
        journal.finished(20, one.job, one.stage)
    decisions.append(journal.decide(20))
    assert any(decision.releases for decision in decisions[1:])
    assert replay_device(DevicePolicy(order, late, 2, MODELS), journal.events) == decisions
    assert {kind for kind, *_ in journal.events} >= {"started", "failed", "unload", "load"}


def test_a_demoted_job_that_waits_for_a_copy_starts_when_it_comes_free() -> None:
    policy = DevicePolicy("edf", "demote", 2, [JobType("a", 1, copies=1, stage_us=(10.0,))])
    policy.arrive(0, 0, 0, 50)
    policy.arrive(0, 1, 0, 5)  # late from the start, so demoted
    assert released(policy, 0) == [(0, 0)]
    assert released(policy, 1) == []
    policy.finished(10, 0, 0)
    assert released(policy, 10) == [(1, 0)]


def test_jobs_without_a_deadline_are_never_given_up() -> None:
    policy = DevicePolicy("moore-hodgson", "drop", 8, [JobType("a", copies=9, stage_us=(1e12,))])
    for job in range(9):
        policy.arrive(0, job, 0)
    decision = policy.decide(0)
    assert decision.drops == ()
    assert len(decision.releases) == 8
