"""Orders against theorems and enumeration: least mean, most deadlines met, all that can be met."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.schedule.device import DevicePolicy, JobType, Progress

UNIT_US = 1


def run(order: str, late: str, jobs: list[tuple[int, int, int]]) -> dict[int, int]:
    """One server, segments of 1 us. ``jobs``: (arrival, length, deadline) in order of arrival. The end of each."""
    lengths = sorted({length for _, length, _ in jobs})
    kinds = [JobType(str(length), length, copies=99, stage_us=(1.0,) * length) for length in lengths]
    policy = DevicePolicy(order, late, 1, kinds, learn=False)
    ends: dict[int, int] = {}
    waiting = list(enumerate(jobs))
    now_us = 0
    while waiting or not policy.is_idle():
        while waiting and waiting[0][1][0] <= now_us:
            job, (_, length, deadline_us) = waiting.pop(0)
            policy.arrive(now_us, job, lengths.index(length), deadline_us)
        decision = policy.decide(now_us)
        now_us += UNIT_US
        for release in decision.releases:
            if policy.finished(now_us, release.job, release.stage) is Progress.DONE:
                ends[release.job] = now_us
    assert policy.holds_nothing()
    return ends


JOBS = st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.integers(1, 30)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(JOBS)
def test_the_mean_latency_of_srpt_is_least_on_one_preemptive_server(jobs: list[tuple[int, int, int]]) -> None:
    jobs = sorted(jobs)
    mean = {
        order: sum(run(order, "keep", jobs).values())
        for order in ("srpt", "fifo", "sjf", "edf", "round-robin")
    }
    assert mean["srpt"] == min(mean.values())


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.just(0), st.integers(1, 6), st.integers(1, 25)), min_size=1, max_size=7))
def test_moore_hodgson_meets_as_many_deadlines_as_enumeration(jobs: list[tuple[int, int, int]]) -> None:
    ends = run("moore-hodgson", "demote", jobs)
    met = sum(ends[job] <= deadline_us for job, (_, _, deadline_us) in enumerate(jobs))
    assert met == most_on_time(jobs)


def most_on_time(jobs: list[tuple[int, int, int]]) -> int:
    """The largest set that meets its deadlines in order of deadline, among all sets."""
    for size in range(len(jobs), 0, -1):
        for chosen in combinations(jobs, size):
            now_us, fits = 0, True
            for _, length, deadline_us in sorted(chosen, key=lambda one: one[2]):
                now_us += length
                fits &= now_us <= deadline_us
            if fits:
                return size
    return 0


@settings(deadline=None, max_examples=60)
@given(JOBS)
def test_edf_meets_all_deadlines_if_any_order_does(jobs: list[tuple[int, int, int]]) -> None:
    # Give each job the deadline it meets under SRPT: a schedule that meets all of them exists.
    ends = run("srpt", "keep", sorted(jobs))
    feasible = [(arrival, length, ends[job]) for job, (arrival, length, _) in enumerate(sorted(jobs))]
    for late, order in (("keep", "edf"), ("drop", "edf"), ("drop", "moore-hodgson")):
        found = run(order, late, feasible)
        assert all(found[job] <= deadline_us for job, (_, _, deadline_us) in enumerate(feasible))


def test_miss_budgets_make_the_type_pay_that_can_afford_it() -> None:
    # Jobs of 12, 9 and 9 us are due at 25: one must go. Without budgets the longest does.
    kinds = [JobType("long", stage_us=(12.0,), copies=9), JobType("short", stage_us=(9.0,), copies=9)]

    def lost(budget: float | None, before: list[int]) -> tuple[int, ...]:
        policy = DevicePolicy("moore-hodgson", "drop", 1, kinds, miss_budget=budget, learn=False)
        for job, kind in enumerate(before):  # these arrive and are met, one after another
            policy.arrive(0, 100 + job, kind, 10**6)
            policy.decide(0)
            policy.finished(0, 100 + job, 0)
        for job, kind in enumerate([0, 1, 1]):
            policy.arrive(0, job, kind, 25)
        return policy.decide(0).drops

    assert lost(None, []) == (0,)
    # One arrival of the long type gives it 0.4 of a miss, two of the short type give 0.8: a short job goes.
    assert lost(0.4, []) == (1,)
    # With two more long jobs met before, the long type has 1.2 and affords the miss; the short type does not.
    assert lost(0.4, [0, 0]) == (0,)
    # If both can, the longest goes.
    assert lost(0.4, [0, 0, 1]) == (0,)


@pytest.mark.parametrize("types", [1, 3, 7])
def test_round_robin_gives_each_queued_type_one_stage_a_round(types: int) -> None:
    kinds = [JobType(str(kind), 5, stage_us=(1.0,) * 5) for kind in range(types)]
    policy = DevicePolicy("round-robin", "keep", 1, kinds)
    for kind in range(types):
        policy.arrive(0, kind, kind)
    for turn in range(5 * types):
        (release,) = policy.decide(turn).releases
        assert (release.job, release.stage) == (turn % types, turn // types)
        policy.finished(turn + 1, release.job, release.stage)
