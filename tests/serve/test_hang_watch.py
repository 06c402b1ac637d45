"""Who hangs, by hand: questions, answers, silence, and time in which nobody could run."""

from __future__ import annotations

import socket
from types import SimpleNamespace

import pytest

from penstock.serve.control import Alive, ControlLine, Stop
from penstock.serve.engine.watch.hang_watch import ANSWER_US, ASK_EVERY_US, HangWatch


class Child:
    """Counts what it is asked."""

    def __init__(self):
        self.asked = 0
        self.line = SimpleNamespace(send=self.send)

    def send(self, message):
        assert message == Alive()
        self.asked += 1


def looked(watch, start_us, stop_us, *children):
    """Look as often as the supervisor does; all who hang by then, and when each was found."""
    found = {}
    for now_us in range(start_us, stop_us + 1, ASK_EVERY_US):
        for child, silent_us in watch.look(now_us, children):
            found.setdefault(child, (now_us, silent_us))
    return found


@pytest.fixture
def watch():
    return HangWatch(0)


def test_the_first_answer_has_no_limit_and_each_later_one_has(watch):
    child = Child()
    assert looked(watch, 0, 100 * ANSWER_US, child) == {}
    assert child.asked == 1
    answered_us = 100 * ANSWER_US
    watch.answered(answered_us, child)
    found = looked(watch, answered_us, answered_us + 3 * ANSWER_US, child)
    asked_us = answered_us + ASK_EVERY_US
    assert child.asked == 2
    assert found[child] == (asked_us + ANSWER_US + ASK_EVERY_US, ANSWER_US + ASK_EVERY_US)


def test_one_that_answers_is_asked_again_and_never_hangs(watch):
    child = Child()
    for now_us in range(0, 10 * ANSWER_US, ASK_EVERY_US):
        assert watch.look(now_us, [child]) == []
        watch.answered(now_us, child)
    assert child.asked == 10 * ANSWER_US // ASK_EVERY_US


def test_time_in_which_the_supervisor_could_not_run_does_not_count(watch):
    child = Child()
    watch.look(0, [child])
    watch.answered(0, child)
    watch.look(ASK_EVERY_US, [child])
    much_later_us = 100 * ANSWER_US
    assert watch.look(much_later_us, [child]) == []
    assert looked(watch, much_later_us, much_later_us + 2 * ANSWER_US, child)


def test_a_new_process_in_place_of_a_dead_one_is_not_blamed_for_its_silence(watch):
    old, new = Child(), Child()
    watch.look(0, [old])
    watch.answered(0, old)
    watch.look(ASK_EVERY_US, [old])
    assert looked(watch, 2 * ASK_EVERY_US, 3 * ANSWER_US, new) == {}
    assert new.asked == 1


def test_the_end_of_a_child_answers_by_itself():
    ours, theirs = (ControlLine(end) for end in socket.socketpair())
    child = ControlLine(theirs._end, answers=True)
    ours.send(Alive())
    ours.send(Stop())
    messages = []
    while Stop() not in messages:
        messages += child.receive()
    assert messages == [Stop()]
    assert ours.receive() == [Alive()]
    child.close()
    ours.close()
