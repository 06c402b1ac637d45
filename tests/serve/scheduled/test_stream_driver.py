"""The driver of streams against a device whose events are set by hand."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadInputError
from penstock.schedule.device import DevicePolicy, JobType
from penstock.serve.scheduled.graphed import GraphedModel
from penstock.serve.scheduled.stream_driver import StreamDriver


class HandDevice:
    """Notes what is launched; an event is reached when the test says so."""

    highest_priority = -1

    def __init__(self):
        self.launched = []
        self.n_streams = 0

    def streams(self, count, priority=0):
        self.n_streams += count
        return list(range(self.n_streams - count, self.n_streams))

    def warm_up(self, segment, tensor):
        return segment(tensor)

    def pool(self):
        return None

    def capture(self, segment, tensor, stream, pool):
        return (segment, tensor), segment(tensor)

    def launch(self, graph, stream):
        self.launched.append((graph, stream))

    def event(self):
        event = SimpleNamespace(reached=False)
        event.query = lambda: event.reached
        return event

    def mark(self, event, stream):
        event.reached = False

    def reference(self):
        return None

    def end_us(self, reference, event):
        return 0.0

    def wait(self):
        pass


def make(*, window=2, copies=(2, 1), late="keep"):
    device = HandDevice()
    models = [
        GraphedModel(device, "short", [lambda x: x + 1], lambda seed: 10 * seed, copies[0]),
        GraphedModel(device, "long", [lambda x: x * 2, lambda x: x - 3], lambda seed: 100 * seed, copies[1]),
    ]
    types = [
        JobType(model.name, model.n_segments, len(model.copies), 1_000, 0, (10.0,) * model.n_segments)
        for model in models
    ]
    policy = DevicePolicy("srpt", late, window, types, learn=False)
    told = {"done": [], "dropped": []}
    driver = StreamDriver(
        policy,
        models,
        device,
        streams=window,
        on_done=lambda job, job_type, copy: told["done"].append((job, copy.output)),
        on_dropped=told["dropped"].append,
    )
    return policy, driver, models, told


def reach_all(models):
    for model in models:
        for copy in model.copies:
            for event in copy.done:
                event.reached = True


def test_copies_chain_their_buffers():
    *_, models, _ = make(copies=(1, 2))
    # 100 * seed, doubled, minus three: each copy has buffers of its own.
    assert [copy.output for copy in models[1].copies] == [-3, 197]
    assert [len(copy.done) for copy in models[1].copies] == [2, 2]


def test_a_job_keeps_its_copy_between_segments_and_the_window_holds():
    policy, driver, models, told = make(window=1)
    policy.arrive(0, 7, 1)
    policy.arrive(0, 8, 0)
    assert driver.turn(0) == 1  # the short one, by remaining time
    assert driver.in_flight == 1
    assert driver.turn(1) == 0  # nothing was reached
    reach_all(models)
    driver.turn(2)  # the short ends, the long one's first segment goes
    assert [job for job, _ in told["done"]] == [8]
    assert not driver.is_clear
    reach_all(models)
    driver.turn(3)
    assert driver.in_flight == 1 and len(told["done"]) == 1
    reach_all(models)
    driver.turn(4)
    assert [job for job, _ in told["done"]] == [8, 7]
    assert driver.is_clear and policy.holds_nothing()


def test_a_cancelled_job_frees_its_copy_when_its_segment_has_ended():
    policy, driver, models, told = make(window=1)
    policy.arrive(0, 7, 1)
    driver.turn(0)
    assert policy.cancel(7)
    driver.forget(7)
    assert not driver.is_clear
    reach_all(models)
    driver.turn(1)
    assert driver.is_clear and told["done"] == []


def test_a_dropped_job_is_told_once():
    policy, driver, _, told = make(window=1, late="drop")
    policy.arrive(0, 1, 0, 5)
    driver.turn(100)
    assert told["dropped"] == [1] and driver.is_clear


def test_a_window_beyond_the_streams_is_refused():
    policy, driver, *_ = make(window=2)
    driver._streams.pop()
    policy.arrive(0, 1, 0)
    policy.arrive(0, 2, 0)
    with pytest.raises(BadInputError, match="window"):
        driver.turn(0)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.sampled_from(["short", "long", "cancel", "reach"]), st.integers(0, 30)), max_size=60
    )
)
def test_every_job_is_answered_once_and_nothing_is_kept(steps):
    policy, driver, models, told = make(window=2, copies=(2, 2), late="drop")
    arrived, cancelled = [], []
    for now, (what, number) in enumerate(steps):
        if what in ("short", "long"):
            arrived.append(len(arrived))
            policy.arrive(now, arrived[-1], what == "long", now + 10 * number)
        elif what == "cancel" and arrived:
            job = arrived[number % len(arrived)]
            if policy.cancel(job):
                driver.forget(job)
                cancelled.append(job)
        else:
            events = [event for model in models for copy in model.copies for event in copy.done]
            events[number % len(events)].reached = True
        driver.turn(now)
    for now in range(len(steps), len(steps) + 3 * len(arrived) + 3):
        reach_all(models)
        driver.turn(now)
    answered = [job for job, _ in told["done"]] + told["dropped"] + cancelled
    assert sorted(answered) == arrived
    assert driver.is_clear and policy.is_idle() and policy.holds_nothing()
