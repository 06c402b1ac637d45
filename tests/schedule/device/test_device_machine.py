"""Any sequence of events: every accepted job is answered once, and nothing is held when the last one is gone."""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from penstock.schedule.device import ORDERS, DevicePolicy, JobType, Progress, Release

STAGES = (1, 2, 4)
MOST = 6


class DeviceMachine(RuleBasedStateMachine):
    """Arrivals, ends, errors of the executor, clients that leave and models that are unloaded, in any order."""

    @initialize(
        order=st.sampled_from(list(ORDERS)),
        late=st.sampled_from(["demote", "drop"]),
        window=st.integers(1, 3),
        copies=st.integers(1, 2),
        budget=st.sampled_from([None, 0.1]),
    )
    def start(self, order: str, late: str, window: int, copies: int, budget: float | None) -> None:
        kinds = [JobType(str(stages), stages, copies, slo_us=40 * stages) for stages in STAGES]
        self.policy = DevicePolicy(
            order, late, window, kinds, most_queued=MOST, miss_budget=budget, theta=2.0
        )
        self.window, self.copies = window, copies
        self.now_us = 0
        self.next_job = 0
        self.open: dict[int, int] = {}
        self.answered: set[int] = set()
        self.flying: dict[int, Release] = {}
        self.unloaded: set[int] = set()

    def answer(self, job: int) -> None:
        assert job in self.open
        assert job not in self.answered
        self.answered.add(job)
        del self.open[job]

    @rule(kind=st.integers(0, 2), passed_us=st.integers(0, 30))
    def arrive(self, kind: int, passed_us: int) -> None:
        self.now_us += passed_us
        if kind in self.unloaded:
            return
        if self.policy.arrive(self.now_us, self.next_job, kind):
            self.open[self.next_job] = kind
        else:
            assert len({*self.open, *self.flying}) == MOST
        self.next_job += 1

    @rule()
    def decide(self) -> None:
        decision = self.policy.decide(self.now_us)
        for job in decision.drops:
            assert job not in self.flying
            self.answer(job)
        for one in decision.releases:
            assert one.job in self.open
            assert one.job not in self.flying
            self.flying[one.job] = one

    @precondition(lambda self: self.flying)
    @rule(pick=st.integers(0, 5), passed_us=st.integers(0, 30), fails=st.booleans())
    def land(self, pick: int, passed_us: int, fails: bool) -> None:
        self.now_us += passed_us
        one = list(self.flying.values())[pick % len(self.flying)]
        del self.flying[one.job]
        if fails:
            if self.policy.failed(self.now_us, one.job, one.stage):
                self.answer(one.job)
            return
        progress = self.policy.finished(self.now_us, one.job, one.stage)
        assert (progress is Progress.CANCELLED) == (one.job not in self.open)
        if progress is Progress.DONE:
            assert one.stage == STAGES[one.job_type] - 1
            self.answer(one.job)

    @rule(job=st.integers(0, 30))
    def client_leaves(self, job: int) -> None:
        known = job in self.open
        assert self.policy.cancel(job) == known
        if known:
            self.answer(job)

    @rule(kind=st.integers(0, 2))
    def unload_or_load(self, kind: int) -> None:
        if kind in self.unloaded:
            self.policy.load(kind)
            self.unloaded.discard(kind)
            return
        gone = self.policy.unload(kind)
        assert sorted(gone) == sorted(job for job, its in self.open.items() if its == kind)
        for job in gone:
            self.answer(job)
        self.unloaded.add(kind)

    @invariant()
    def limits_hold(self) -> None:
        if hasattr(self, "policy"):
            assert len(self.flying) <= self.window
            for kind in range(3):
                assert sum(one.job_type == kind for one in self.flying.values()) <= self.copies
            if not self.open and not self.flying:
                assert self.policy.is_idle()
                assert self.policy.holds_nothing()

    def teardown(self) -> None:
        """Whatever happened: the rest can run to its end, and then nothing is held."""
        if not hasattr(self, "policy"):
            return
        for _ in range(1000):
            self.decide()
            if not self.flying:
                break
            self.land(0, 1, False)
        assert not self.open
        assert self.policy.is_idle()
        assert self.policy.holds_nothing()


DeviceMachine.TestCase.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
TestDeviceMachine = DeviceMachine.TestCase
