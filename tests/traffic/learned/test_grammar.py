"""The learned automaton and that of a machine."""

from __future__ import annotations

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.traffic.generator.grammar import Grammar, free_grammar, learn_grammar, machine_grammar
from penstock.traffic.machine import known_machine
from penstock.traffic.streams import Streams
from penstock.traffic.truth import simulate_truth


def streams_of(*words: str, events: str = "abc") -> Streams:
    sizes = [len(word) for word in words]
    return Streams(
        np.array([events.index(letter) for word in words for letter in word], np.int16),
        np.concatenate([np.arange(size) for size in sizes]).astype(np.int64),
        np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        np.zeros(len(words), np.int16),
        tuple(events),
        ("all",),
    )


def follows(grammar: Grammar, word: str, events: str = "abc") -> set[str]:
    state = 0
    for letter in word:
        state = grammar.next_state[state, events.index(letter)]
        assert state >= 0
    return {events[kind] for kind in np.flatnonzero(grammar.next_state[state] >= 0)}


def test_what_follows_three_types_is_what_training_saw_after_them():
    # After "abca" came b alone, after "bbca" came c alone: only three types back tell them apart.
    grammar = learn_grammar(streams_of(*["abcab"] * 10, *["bbcac"] * 10), fewest=10)
    assert follows(grammar, "abca"[-4:]) == {"b", "c"}  # "bca" is the same in both
    grammar = learn_grammar(streams_of(*["acab"] * 10, *["bcac"] * 10), fewest=10)
    assert follows(grammar, "aca") == {"b"}
    assert follows(grammar, "bca") == {"c"}
    assert follows(grammar, "") == {"a", "b"}


def test_a_rare_context_is_judged_by_a_shorter_one():
    words = ["acab"] * 10 + ["bcac"] * 9
    grammar = learn_grammar(streams_of(*words), fewest=10)
    # "bca" was seen 9 times: what follows "ca" decides, in 19 cases b or c.
    assert follows(grammar, "bca") == {"b", "c"}


def test_a_context_never_seen_falls_back_to_all_types_seen():
    grammar = learn_grammar(streams_of("ab", "ab"), fewest=200)
    assert follows(grammar, "b") == {"a", "b"}


def test_many_types_remember_less():
    events = "".join(chr(0x100 + n) for n in range(120))
    grammar = learn_grammar(streams_of(events * 3, events=events), fewest=1)
    assert len(grammar.next_state) == 121**2
    assert follows(grammar, events[:2], events) == {events[2]}


def test_the_machines_automaton_lets_pass_what_some_start_state_allows():
    machine = known_machine("lte")
    truth = simulate_truth(streams=300)
    grammar = machine_grammar(machine, truth.events)
    for stream in range(len(truth)):
        state = 0
        for kind in truth.event[truth.first[stream] : truth.first[stream + 1]]:
            state = grammar.next_state[state, kind]
            assert state >= 0
    event = {name: code for code, name in enumerate(truth.events)}
    after_request = grammar.next_state[0, event["SRV_REQ"]]
    assert grammar.next_state[after_request, event["SRV_REQ"]] == -1


def test_a_machine_that_lacks_an_event_is_refused():
    with pytest.raises(BadInputError, match="unknown to the machine"):
        machine_grammar(known_machine("lte"), ("ATCH", "COFFEE"))


@pytest.mark.parametrize("table", [[[0, 2]], [[-2, 0]]])
def test_states_out_of_range_are_refused(table):
    with pytest.raises(BadInputError, match="states must lie"):
        Grammar(np.array(table, np.int32))


def test_the_free_automaton_allows_all():
    assert follows(free_grammar(3), "abccba") == {"a", "b", "c"}
