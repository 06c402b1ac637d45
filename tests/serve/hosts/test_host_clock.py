"""The clock of a host: its distance from the head's by hand, and that processes which run see a better one at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("msgspec")

from penstock.clock import MonotonicClock
from penstock.serve.hosts.host_clock import HostClock, clock_at, write_offset
from penstock.serve.hosts.offset import ANSWERS, Answer, ClockOffset


def test_the_distance_is_from_the_middle_of_question_and_answer():
    # Asked at 1000, answered at 1200: the head read 51100 at about 1100.
    assert ClockOffset().add(1_000, 51_100, 1_200) == Answer(50_000, 100)


def test_the_quickest_of_the_last_answers_counts_and_old_ones_leave():
    offset = ClockOffset()
    assert offset.add(0, 1_005, 10) == Answer(1_000, 5)
    assert offset.add(100, 1_900, 1_100) == Answer(1_000, 5)  # slower: 1300 +- 500
    for turn in range(ANSWERS - 2):
        assert offset.add(0, 2_000, 1_000) == Answer(1_000, 5), turn
    assert offset.add(0, 2_000, 1_000).error_us == 500  # the quick one has left


@given(
    true_us=st.integers(-(10**12), 10**12),
    there_us=st.integers(0, 10**6),
    back_us=st.integers(0, 10**6),
)
def test_the_error_is_never_more_than_it_says(true_us, there_us, back_us):
    """Whatever way takes how long (Cristian 1989): the head reads ``true_us`` more than the host's clock shows then."""
    asked_us = 5_000
    found = ClockOffset().add(asked_us, asked_us + there_us + true_us, asked_us + there_us + back_us)
    assert abs(found.offset_us - true_us) <= found.error_us


def test_a_process_that_runs_sees_the_new_distance(tmp_path):
    write_offset(tmp_path, 0)
    clock = clock_at(tmp_path)
    assert isinstance(clock, HostClock)
    before_us = MonotonicClock().now_us()
    assert before_us <= clock.now_us()
    write_offset(tmp_path, -(10**15))
    assert clock.now_us() < before_us - 10**14
    write_offset(tmp_path, 10**15)
    assert clock.now_us() >= before_us + 10**15


def test_without_an_agent_the_clock_is_that_of_the_machine(tmp_path):
    assert isinstance(clock_at(tmp_path), MonotonicClock)
