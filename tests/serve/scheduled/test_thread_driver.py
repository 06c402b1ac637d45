"""The CPU dispatcher: real threads, segments that end when the test says so, every wait bounded."""

import threading
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadInputError, PenstockError
from penstock.serve.scheduled.answers import Ending
from penstock.serve.scheduled.device_log import LoggedDevicePolicy, check_device_log
from penstock.serve.scheduled.device_spec import DeviceSpec, TypeSpec
from penstock.serve.scheduled.thread_driver import ThreadDriver

LIMIT_S = 20.0
SHORT, LONG = 0, 1


class GatedModel:
    """Segments that wait for a permit, note that they ran, and fail for inputs that say so."""

    def __init__(self, name, n_segments, log, permits):
        self.name, self.n_segments = name, n_segments
        self._log, self._permits = log, permits

    def run(self, segment, tensors):
        self._log.append((self.name, tensors["job"], segment))
        assert self._permits.acquire(timeout=LIMIT_S), "the test gave too few permits"
        if tensors.get("fails_at") == segment:
            raise ValueError("bad weights")
        return {**tensors, "ran": (*tensors.get("ran", ()), segment)}


class Bench:
    """A driver with a short model (1 segment) and a long one (3), and the answers it gave."""

    def __init__(self, *, order="srpt", late="keep", threads=1, most_queued=100, policy=None):
        times = {SHORT: (10.0,), LONG: (10.0, 10.0, 10.0)}
        types = tuple(
            TypeSpec(name, len(times[kind]), stage_us=times[kind])
            for kind, name in ((SHORT, "short"), (LONG, "long"))
        )
        self.spec = DeviceSpec(types, order, late, threads, most_queued=most_queued, learn=False)
        self.policy = self.spec.policy() if policy is None else policy(self.spec)
        self.ran, self.permits = [], threading.Semaphore(0)
        self.answers = []
        self.driver = ThreadDriver(
            self.policy,
            [GatedModel("short", 1, self.ran, self.permits), GatedModel("long", 3, self.ran, self.permits)],
            threads=threads,
        )

    def submit(self, kind, name=None, **more):
        tensors = {"job": name, **{key: more.pop(key) for key in ("fails_at",) if key in more}}
        return self.driver.submit(kind, tensors, self.answers.append, **more)

    def let_run(self, segments):
        self.permits.release(segments)

    def until(self, is_so):
        """Wait for a fact that a worker thread brings about."""
        end = threading.Event()
        for _ in range(2000):
            if is_so():
                return
            end.wait(LIMIT_S / 2000)
        raise AssertionError("did not happen in time")

    def finish(self):
        """Let all run, close, and see that nothing is left."""
        self.let_run(10_000)
        assert self.driver.wait_until_idle(LIMIT_S)
        self.driver.close()
        assert self.driver.in_flight == 0
        assert self.policy.is_idle()
        assert self.policy.holds_nothing()

    def endings(self):
        return {answer.job: answer.ending for answer in self.answers}


def running(bench, count):
    return lambda: len(bench.ran) >= count


class TestOrder:
    def test_a_short_job_goes_between_two_segments_of_a_long_one(self):
        bench = Bench()
        bench.submit(LONG, "a")
        bench.until(running(bench, 1))
        bench.submit(LONG, "b")
        bench.submit(SHORT, "c")
        bench.finish()
        # a's first segment runs; then c (10 left) before the rest of a (20 left) before b (30 left).
        assert bench.ran == [
            ("long", "a", 0),
            ("short", "c", 0),
            ("long", "a", 1),
            ("long", "a", 2),
            ("long", "b", 0),
            ("long", "b", 1),
            ("long", "b", 2),
        ]
        assert [answer.job for answer in bench.answers] == [2, 0, 1]
        assert bench.answers[1].outputs["ran"] == (0, 1, 2)

    def test_as_many_segments_at_once_as_threads(self):
        bench = Bench(threads=2)
        for name in "abc":
            bench.submit(SHORT, name)
        bench.until(running(bench, 2))
        assert bench.driver.in_flight == 3
        bench.finish()
        assert sorted(bench.ran[:2]) == [("short", "a", 0), ("short", "b", 0)]

    def test_times_are_the_parts_of_the_latency(self):
        bench = Bench()
        bench.submit(LONG, "a", arrived_us=5)
        bench.finish()
        (answer,) = bench.answers
        assert answer.arrived_us == 5 < answer.started_us <= answer.ended_us
        assert answer.run_us <= answer.ended_us - answer.started_us


class TestEveryJobIsAnsweredOnce:
    def test_cancelled_while_queued_and_while_running(self):
        bench = Bench()
        first = bench.submit(LONG, "a")
        bench.until(running(bench, 1))
        second = bench.submit(LONG, "b")
        assert bench.driver.cancel(second)
        assert bench.driver.cancel(first)
        assert not bench.driver.cancel(first)
        assert bench.endings() == {first: Ending.CANCELLED, second: Ending.CANCELLED}
        assert bench.driver.in_flight == 1  # the segment that runs
        bench.finish()
        assert bench.ran == [("long", "a", 0)]

    def test_cancelled_between_two_segments(self):
        bench = Bench()
        waiting = bench.submit(LONG, "a")
        bench.until(running(bench, 1))
        bench.submit(SHORT, "b")
        bench.let_run(1)
        bench.until(running(bench, 2))  # b runs, and a waits with its first segment done
        assert bench.driver.cancel(waiting)
        assert bench.driver.in_flight == 1
        bench.finish()
        assert bench.ran == [("long", "a", 0), ("short", "b", 0)]

    def test_a_full_queue_refuses_at_once(self):
        bench = Bench(most_queued=2)
        jobs = [bench.submit(SHORT, name) for name in "abc"]
        assert bench.endings() == {jobs[2]: Ending.REFUSED}
        bench.finish()
        assert set(bench.endings()) == set(jobs)

    def test_unload_answers_all_of_the_type_and_load_takes_it_again(self):
        bench = Bench()
        jobs = [bench.submit(LONG, "a"), bench.submit(LONG, "b")]
        bench.until(running(bench, 1))
        other = bench.submit(SHORT, "c")
        assert bench.driver.unload(LONG) == 2
        assert bench.submit(LONG, "d") == 3
        assert bench.endings() == dict.fromkeys([*jobs, 3], Ending.UNLOADED)
        bench.let_run(2)
        assert bench.driver.wait_until_idle(LIMIT_S)
        assert bench.endings()[other] is Ending.DONE
        bench.driver.load(LONG)
        again = bench.submit(LONG, "e")
        bench.finish()
        assert bench.endings()[again] is Ending.DONE

    def test_a_segment_that_fails_fails_its_job_only(self):
        bench = Bench()
        bad = bench.submit(LONG, "a", fails_at=1)
        good = bench.submit(LONG, "b")
        bench.finish()
        assert bench.endings() == {bad: Ending.FAILED, good: Ending.DONE}
        assert bench.answers[0].problem == "ValueError: bad weights"
        assert ("long", "a", 2) not in bench.ran

    def test_a_job_that_is_late_already_is_dropped(self):
        bench = Bench(order="edf", late="drop")
        job = bench.submit(LONG, "a", deadline_us=1)
        bench.finish()
        assert bench.endings() == {job: Ending.DROPPED}
        assert bench.ran == []

    def test_close_answers_what_is_left(self):
        bench = Bench()
        jobs = [bench.submit(LONG, name) for name in "abc"]
        bench.until(running(bench, 1))
        closing = threading.Thread(target=bench.driver.close)
        closing.start()
        bench.until(lambda: len(bench.answers) == 3)
        bench.let_run(1)
        closing.join(LIMIT_S)
        assert not closing.is_alive()
        assert bench.endings() == dict.fromkeys(jobs, Ending.STOPPED)
        assert bench.submit(SHORT, "late") == 3
        assert bench.endings()[3] is Ending.STOPPED
        assert bench.policy.is_idle()
        assert bench.policy.holds_nothing()

    def test_a_fault_outside_of_segments_stops_the_driver_and_is_raised(self):
        bench = Bench()

        def careless(answer):
            raise KeyError("a defect of the caller")

        bench.driver.submit(SHORT, {"job": "a"}, careless)
        rest = bench.submit(LONG, "b")
        bench.let_run(10)
        bench.until(lambda: bench.endings() == {rest: Ending.STOPPED})
        with pytest.raises(KeyError, match="defect of the caller"):
            bench.driver.close()


OPERATIONS = st.one_of(
    st.tuples(
        st.just("submit"),
        st.sampled_from([SHORT, LONG]),
        st.sampled_from([None, 0, 1]),
        st.sampled_from([None, 1]),
    ),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.sampled_from(["unload", "load"]), st.sampled_from([SHORT, LONG])),
    st.tuples(st.just("run"), st.integers(1, 4)),
)


@settings(max_examples=60, deadline=None)
@given(
    order=st.sampled_from(
        [("srpt", "keep"), ("moore-hodgson", "demote"), ("edf", "drop"), ("round-robin", "keep")]
    ),
    threads=st.integers(1, 3),
    operations=st.lists(OPERATIONS, max_size=40),
    drains=st.booleans(),
)
def test_any_mixture_of_events_answers_every_job_once_and_leaks_nothing(order, threads, operations, drains):
    before = threading.active_count()
    bench = Bench(order=order[0], late=order[1], threads=threads, most_queued=5)
    jobs = []
    for kind, *arguments in operations:
        if kind == "submit":
            job_type, fails_at, deadline_us = arguments
            jobs.append(bench.submit(job_type, len(jobs), fails_at=fails_at, deadline_us=deadline_us))
        elif kind == "run":
            bench.let_run(*arguments)
        else:
            getattr(bench.driver, kind)(*arguments)
    bench.let_run(10_000)
    if drains:
        assert bench.driver.wait_until_idle(LIMIT_S)
    bench.driver.close()
    assert Counter(answer.job for answer in bench.answers) == Counter(jobs)
    assert all((answer.outputs is not None) == (answer.ending is Ending.DONE) for answer in bench.answers)
    assert bench.driver.in_flight == 0
    assert bench.policy.is_idle()
    assert bench.policy.holds_nothing()
    assert threading.active_count() == before


class TestJournal:
    def run(self, path):
        logs = []

        def logged(spec):
            logs.append(LoggedDevicePolicy(spec, path))
            return logs[0]

        bench = Bench(threads=2, most_queued=4, policy=logged)
        for number in range(6):
            bench.submit(number % 2, number, fails_at=1 if number == 3 else None)
        bench.driver.cancel(1)
        bench.driver.unload(LONG)
        bench.driver.load(LONG)
        bench.submit(LONG, "again")
        bench.let_run(100)
        assert bench.driver.wait_until_idle(LIMIT_S)
        bench.driver.close()
        logs[0].close()

    def test_replays_to_the_same_decisions(self, tmp_path):
        self.run(tmp_path / "log")
        assert check_device_log(tmp_path / "log") > 4

    def test_another_decision_is_seen(self, tmp_path):
        self.run(tmp_path / "log")
        lines = (tmp_path / "log").read_text().splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith('["decided"'))
        lines[at] = '["decided",[[0,0,0],[2,0,0]],[]]'
        (tmp_path / "other").write_text("\n".join(lines))
        with pytest.raises(PenstockError, match="decision 0 was"):
            check_device_log(tmp_path / "other")

    def test_what_is_no_journal_is_refused(self, tmp_path):
        (tmp_path / "log").write_text("hello\n")
        with pytest.raises(BadInputError, match="cannot be read as a device's journal"):
            check_device_log(tmp_path / "log")
        with pytest.raises(BadInputError, match="cannot write the journal"):
            LoggedDevicePolicy(DeviceSpec((TypeSpec("a"),)), tmp_path / "log")


@pytest.mark.parametrize(("threads", "said"), [(0, "threads")])
def test_bad_figures_are_refused(threads, said):
    with pytest.raises(BadInputError, match=said):
        ThreadDriver(DeviceSpec((TypeSpec("a"),)).policy(), [], threads=threads)
