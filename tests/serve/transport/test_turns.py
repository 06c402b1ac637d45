"""An inbox read in turns: nothing is lost or overtaken where a turn ends."""

from __future__ import annotations

import pytest

from penstock.serve.transport import Turns


class Inbox:
    """Like that of shared memory, it holds a message while it yields those before it."""

    def __init__(self, messages):
        self.messages = list(messages)

    def waiting(self):
        while self.messages:
            held = self.messages.pop(0)
            if self.messages:
                yield self.messages.pop(0)
            yield held


@pytest.mark.parametrize("most", [1, 2, 3, 6, 7])
def test_turns_end_anywhere_and_lose_nothing(most):
    inbox = Inbox(range(6))
    turns = Turns(inbox, most)
    found, lengths = [], []
    assert turns.is_over
    while not (turns.is_over and lengths):
        one = list(turns.messages())
        lengths.append(len(one))
        found += one
    assert found == [1, 0, 3, 2, 5, 4]
    assert max(lengths) <= most
    assert sum(lengths[:-1]) == most * (len(lengths) - 1)


def test_what_comes_between_two_turns_is_read_in_its_turn():
    inbox = Inbox([0, 1])
    turns = Turns(inbox, 2)
    assert list(turns.messages()) == [1, 0]
    assert not turns.is_over
    inbox.messages = [2, 3]
    assert list(turns.messages()) == [3, 2]
    assert list(turns.messages()) == []
    assert turns.is_over


def test_an_error_in_a_turn_costs_no_later_message():
    turns = Turns(Inbox(range(4)), 4)
    with pytest.raises(ValueError, match="one"):
        for message in turns.messages():
            if message == 1:
                raise ValueError("one")
    assert not turns.is_over
    assert list(turns.messages()) == [0, 3, 2]
