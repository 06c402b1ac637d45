"""What reaches the kernels is accepted, or refused with ``BadInputError`` before anything changes."""

from __future__ import annotations

import enum
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table, tables
from penstock.errors import BadInputError
from penstock.schedule.checks import LARGEST_PLACE, checked_table
from penstock.schedule.journal import replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.schedule.rules.reactive import make_reactive_facts
from penstock.schedule.table import DispatchTable
from penstock.units import LATEST_US, LONGEST_US, NEVER_US

FUZZ = Path(__file__).resolve().parents[2] / "benchmarks" / "fuzz_wall.py"

TABLE = make_table([(80, [Pipeline(2, [Stage([10, 12], [0, 1]), Stage([5, 6], [1], [2, 3])])])])

ARGUMENTS = {
    "arrive": ("time", "model", "id", "time"),
    "decide": ("time",),
    "complete": ("time", "batch", "stage"),
    "abandon": ("time", "batch"),
    "cancel": ("id",),
    "worker_down": ("time", "worker"),
    "worker_up": ("time", "worker"),
}
RIGHT = {"time": 0, "model": 0, "id": 7, "batch": 0, "stage": 0, "worker": 0}
WRONG = {
    "time": (-1, LATEST_US + 1, NEVER_US, 2**63, -(2**70)),
    "model": (-1, 1, 2**62, 2**64),
    "id": (2**63, -(2**63) - 1),
    "batch": (-1, 2**63),
    "stage": (-1, 2, 2**40),
    "worker": (-1, 3, 2**40),
}
NO_INTEGERS = (None, 0.0, "0", (), np.float64(0), np.array([0, 1]))


def wrong_calls():
    for kind, names in ARGUMENTS.items():
        for at, name in enumerate(names):
            for value in (*WRONG[name], *NO_INTEGERS):
                yield kind, [value if index == at else RIGHT[each] for index, each in enumerate(names)]


@pytest.mark.parametrize(("kind", "arguments"), list(wrong_calls()))
def test_a_wrong_argument_is_refused_and_nothing_changes(kind, arguments):
    policy = ReservationPolicy(TABLE)
    before = [array.copy() for array in leaves(policy.state)]
    with pytest.raises(BadInputError):
        getattr(policy, kind)(*arguments)
    for ours, theirs in zip(leaves(policy.state), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def leaves(part):
    return [leaf for each in part for leaf in leaves(each)] if isinstance(part, tuple) else [part]


class Number(enum.IntEnum):
    ZERO = 0


@pytest.mark.parametrize("zero", [np.int64(0), np.int32(0), np.uint8(0), Number.ZERO, False])
def test_other_kinds_of_integers_are_taken_as_they_are(zero):
    """A kernel would be compiled again for each of these types."""
    policy, plain = ReservationPolicy(TABLE), ReservationPolicy(TABLE)
    for each, nought in ((policy, zero), (plain, 0)):
        each.arrive(nought, nought, nought, 80)
    assert policy.decide(zero) == plain.decide(0)
    assert policy.worker_down(zero, zero) == ()


def test_the_outermost_values_are_accepted():
    policy = ReservationPolicy(TABLE)
    policy.arrive(0, 0, -(2**63), LATEST_US)
    policy.arrive(LATEST_US, 0, 2**63 - 1, LATEST_US)
    assert policy.decide(LATEST_US).wake_us == NEVER_US
    policy.complete(LATEST_US, 2**63 - 1, 1)
    assert policy.abandon(0, 2**63 - 1) == ()


def test_a_worker_that_is_down_gets_nothing_however_late_the_deadline():
    policy = ReservationPolicy(TABLE)
    policy.worker_down(0, 2)
    policy.arrive(0, 0, 0, LATEST_US)
    assert len(policy.decide(0).drops) == 1


ANYTHING = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-3, 60),
    st.sampled_from(
        [LATEST_US, NEVER_US, 2**63 - 1, -(2**63), True, None, 1.0, "x", b"", np.int64(3), np.int16(-1)]
    ),
)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.sampled_from(list(RULES)))
def test_any_calls_and_any_journal_are_accepted_or_refused(data, rule):
    """Nothing else happens: no other exception, and the next decision comes back."""
    table = data.draw(st.sampled_from([tables(shared=True), tables(lent=True)]).flatmap(lambda drawn: drawn))
    policy = ReservationPolicy(table, rule=rule)
    calls = st.sampled_from(list(ARGUMENTS)).flatmap(
        lambda kind: st.tuples(st.just(kind), *[ANYTHING for _ in ARGUMENTS[kind]])
    )
    for event in data.draw(st.lists(st.one_of(calls, st.lists(ANYTHING, max_size=4)), max_size=25)):
        try:
            if isinstance(event, tuple):
                getattr(policy, event[0])(*event[1:])
            replay(policy, [event])
        except BadInputError:
            continue
    assert policy.decide(LATEST_US).wake_us > LATEST_US


def changed(**columns):
    return TABLE._replace(**columns)


def column(*values):
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "NoneType"),
        (tuple(TABLE), "tuple"),
        (changed(slo_us=[80]), "slo_us .=list."),
        (changed(slo_us=column(80).astype(np.int32)), "slo_us .=1-d int32."),
        (changed(latency_us=TABLE.latency_us.astype(float)), "latency_us .=2-d float64."),
        (changed(latency_us=column(1, 2)), "latency_us .=1-d int64."),
        (changed(worker_host=np.int64(0)), "worker_host"),
        (changed(slo_us=column()), "pipeline_offsets"),
        (changed(slo_us=column(), pipeline_offsets=column(0)), "no model"),
        (changed(p99_us=TABLE.p99_us[:, 1:]), "p99_us"),
        (changed(transfer_us=TABLE.transfer_us[:1]), "transfer_us"),
        (changed(worker_device=column(0)), "worker_device"),
        (changed(stage_pool=column(0)), "stage_pool"),
        (changed(lend_group=column(0)), "lend_group"),
        (changed(stage_pool=column(0, 0), lend_group=column(0, 0)), "lend_group"),
        (changed(pipeline_offsets=column(0, 2)), "pipeline_offsets"),
        (changed(stage_offsets=column(1, 2)), "stage_offsets"),
        (changed(stage_offsets=column(0, 2**63 - 1)), "stage_offsets"),
        (changed(worker_offsets=column(0, 4, 3)), "worker_offsets"),
        (changed(worker_offsets=column(0, -(2**63), 3)), "worker_offsets"),
        (changed(worker_offsets=column(0, 3, 3)), "pool .=1. has no worker"),
        (changed(pipeline_batch=column(3)), "pipeline_batch .=3."),
        (changed(pipeline_batch=column(0)), "pipeline_batch .=0."),
        (changed(slo_us=column(-1)), "slo_us .=-1."),
        (changed(latency_us=0 * TABLE.latency_us), "latency_us .=0."),
        (changed(latency_us=TABLE.latency_us + LONGEST_US), "latency_us"),
        (changed(p99_us=-TABLE.p99_us), "p99_us"),
        (changed(transfer_us=TABLE.transfer_us - 1), "transfer_us .=-1."),
        (changed(worker_host=column(0, -1, 1)), "worker_host .=-1."),
        (changed(worker_host=column(0, 1, LARGEST_PLACE + 1)), "worker_host"),
        (changed(worker_device=column(0, 1, -1)), "worker_device"),
        (changed(stage_pool=column(0, -1)), "stage_pool .=-1."),
        (changed(lend_group=column(0, -1)), "lend_group .=-1."),
        (changed(stage_pool=column(0, LARGEST_PLACE + 1)), "stage_pool"),
    ],
)
def test_a_table_that_does_not_describe_a_fleet_is_refused(table, words):
    for use in (checked_table, ReservationPolicy, make_reactive_facts):
        with pytest.raises(BadInputError, match=words):
            use(table)


def test_a_sound_table_is_taken_whatever_its_layout():
    turned = TABLE._replace(
        latency_us=np.asfortranarray(TABLE.latency_us), worker_host=TABLE.worker_host[::-1][::-1]
    )
    for ours, theirs in zip(checked_table(turned), TABLE, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.flags.c_contiguous


@pytest.mark.parametrize(
    "costs", [{"dispatch_us": -1}, {"overhead_us": LONGEST_US + 1}, {"dispatch_us": 0.5}]
)
def test_a_cost_out_of_range_is_refused(costs):
    with pytest.raises(BadInputError, match=next(iter(costs))):
        ReservationPolicy(TABLE, **costs)


@settings(max_examples=60, deadline=None)
@given(tables(shared=True), st.data())
def test_any_change_of_a_table_is_accepted_or_refused(table, data):
    name = data.draw(st.sampled_from(DispatchTable._fields))
    array = getattr(table, name).copy()
    if array.size:
        array.flat[data.draw(st.integers(0, array.size - 1))] = data.draw(st.integers(-(2**63), 2**63 - 1))
    try:
        policy = ReservationPolicy(table._replace(**{name: array}))
    except BadInputError:
        return
    policy.arrive(0, 0, 0, LATEST_US)
    policy.decide(0)


@pytest.mark.compiled
def test_the_fuzzer_finds_no_failure():
    """A short run of the script that is run at length by hand; a crash or a hang would end its own child process."""
    pytest.importorskip("msgspec", reason="the fuzzer also sends messages")
    done = subprocess.run(
        [sys.executable, str(FUZZ), "1500", "1"], capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 failures" in done.stdout
