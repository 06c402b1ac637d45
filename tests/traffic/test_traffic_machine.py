"""State machines: their files, walks with an unknown begin, violations."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_samples import streams_of
from trace_files import write

from penstock.errors import BadInputError
from penstock.traffic.machine import KNOWN_MACHINES, find_violations, known_machine, machine_of, read_machine
from penstock.traffic.machine.machine_file import machine_document
from penstock.traffic.machine.violations import walk_streams

LTE = known_machine("lte")


def states(*rows):
    """The state after each event, by name; None if it is not known."""
    walked = walk_streams(streams_of(*rows), LTE)
    return [None if code < 0 else LTE.states[code] for code in walked.after], walked.broken.tolist()


def test_the_first_event_that_fixes_the_state():
    # TAU is legal in CONNECTED and in IDLE, so the state is open until SRV_REQ, which leads to CONNECTED only.
    after, broken = states(
        [("TAU", 0), ("SRV_REQ", 1), ("HO", 2), ("S1_CONN_REL", 3), ("TAU", 4), ("S1_CONN_REL", 5)]
    )
    assert after == [None, "CONNECTED", "CONNECTED", "IDLE", "IDLE_UPDATED", "IDLE"]
    assert not any(broken)


def test_violations_are_counted_from_there_and_the_walk_goes_on():
    rows = [("TAU", 0), ("S1_CONN_REL", 1), ("S1_CONN_REL", 2), ("SRV_REQ", 3), ("SRV_REQ", 4), ("DTCH", 5)]
    after, broken = states(rows)
    # TAU then S1_CONN_REL: IDLE by either way. Another release breaks; it leads to IDLE again.
    assert after == [None, "IDLE", "IDLE", "CONNECTED", "CONNECTED", "DEREGISTERED"]
    assert broken == [False, False, True, False, True, False]
    found = find_violations(streams_of(rows, [("HO", 0)]), LTE)
    assert (found.events, found.scored) == (
        2,
        4,
    )  # the first two events of the first stream, and HO, fix the state
    assert (found.streams, found.streams_scored) == (1, 1)
    assert found.top == (("CONNECTED", "SRV_REQ", 1), ("IDLE", "S1_CONN_REL", 1))
    assert found.event_share == 0.5


def test_a_second_release_in_idle_breaks_unless_an_update_came_before():
    assert states([("SRV_REQ", 0), ("S1_CONN_REL", 1), ("S1_CONN_REL", 2)])[1] == [False, False, True]
    assert states([("SRV_REQ", 0), ("S1_CONN_REL", 1), ("TAU", 2), ("S1_CONN_REL", 3)])[1] == [False] * 4


def test_an_event_that_the_machine_does_not_know():
    with pytest.raises(BadInputError, match="event 'PING' is unknown to the machine 'lte'"):
        find_violations(streams_of([("PING", 0)]), LTE)


@pytest.mark.parametrize("name", KNOWN_MACHINES)
def test_known_machines_survive_a_file(tmp_path, name):
    machine = machine_of(name)
    path = tmp_path / "m.json"
    path.write_text(json.dumps(machine_document(machine)))
    again = machine_of(str(path))
    assert (again.states, again.events, again.groups) == (machine.states, machine.events, machine.groups)
    assert again.next_state.tolist() == machine.next_state.tolist()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "states: [{name: A}, {name: A}]\ntransitions: [{state: A, event: e, next: A}]",
            "'A' is given twice",
        ),
        (
            "states: [{name: A}]\ntransitions: [{state: A, event: e, next: B}]",
            r"next \(='B'\) is none of the states",
        ),
        ("states: [{name: A, within: Z}]\ntransitions: [{state: A, event: e, next: A}]", r"within \(='Z'\)"),
        (
            "states: [{name: A}]\ntransitions: [{state: A, event: e, next: A}, {state: A, event: e, next: A}]",
            "given twice, but",
        ),
        ("states: [{name: A}]\ntransitions: []", "at least 1"),
        ("states: [{name: A}]", "transitions: required field is missing"),
    ],
)
def test_bad_files(tmp_path, body, message):
    path = write(tmp_path / "m.yaml", "version: 1", "name: toy", *body.split("\n"))
    with pytest.raises(BadInputError, match=message):
        read_machine(path)


def test_unknown_name():
    with pytest.raises(BadInputError, match=r"machine 'ltee' is unknown. Did you mean lte"):
        machine_of("ltee")


@given(st.integers(0, 3), st.lists(st.integers(0, 5), min_size=1, max_size=30))
def test_a_legal_walk_never_breaks(state, choices):
    """Any walk along legal events, from any state, is clean; and where the walk knows the state, it is the true one."""
    rows, truth = [], []
    for second, choice in enumerate(choices):
        legal = [code for code in range(len(LTE.events)) if LTE.next_state[state, code] >= 0]
        code = legal[choice % len(legal)]
        state = int(LTE.next_state[state, code])
        rows.append((LTE.events[code], second))
        truth.append(state)
    walked = walk_streams(streams_of(rows), LTE)
    assert not walked.broken.any()
    assert all(seen in (-1, true) for seen, true in zip(walked.after.tolist(), truth, strict=True))
