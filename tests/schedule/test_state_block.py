"""The state as a block of addresses: the kernel sees the very arrays, each with its own shape."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from fleet_tables import Pipeline, Stage, make_table
from penstock.schedule.kernel import kernel
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.state.addresses import _plain_state_at, addresses_of, state_at
from penstock.schedule.state.arrays import PolicyState


def leaves(part):
    return [leaf for each in part for leaf in leaves(each)] if isinstance(part, tuple) else [part]


@kernel
def facts_and_corners(block, found):
    """Shapes of three unlike arrays, and a mark in the last place of each."""
    state = state_at(block)
    found[0] = len(state.facts.pipeline_offsets)
    found[1], found[2] = state.queues.deadline_us.shape
    found[3], found[4] = state.flights.worker.shape
    state.queues.deadline_us[-1, -1] = 7
    state.flights.worker[-1, -1] = 8
    state.rule[0] = 9


def make_policy():
    stages = [Stage([5, 6], [0]), Stage([7, 8], [1, 2]), Stage([7, 8], [1])]
    return ReservationPolicy(
        make_table([(50, [Pipeline(2, stages)]), (60, [Pipeline(1, [Stage([9], [0])])])])
    )


def test_kernels_read_and_write_the_arrays_themselves():
    state, found = make_policy().state, np.zeros(5, np.int64)
    facts_and_corners(addresses_of(state), found)
    assert found.tolist() == [3, 2, 256, 256, 3]
    assert (state.queues.deadline_us[-1, -1], state.flights.worker[-1, -1], state.rule[0]) == (7, 8, 9)
    assert np.count_nonzero(state.queues.deadline_us) == 1


def test_python_reads_and_writes_the_same_arrays_if_kernels_are_not_compiled():
    state = make_policy().state
    read = _plain_state_at(addresses_of(state))
    for ours, theirs in zip(leaves(state), leaves(read), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)
    read.queues.deadline_us[-1, -1] = 7
    assert state.queues.deadline_us[-1, -1] == 7


def test_every_array_is_of_the_dimensions_that_its_field_says():
    state = make_policy().state
    block = addresses_of(state)

    @numba.njit
    def whole(block):
        return state_at(block)

    copied = whole(block)
    assert isinstance(copied, PolicyState)
    assert len(leaves(copied)) == len(leaves(state))
    for ours, theirs in zip(leaves(state), leaves(copied), strict=True):
        np.testing.assert_array_equal(ours, theirs, strict=True)


def test_an_array_that_an_address_does_not_describe_is_refused():
    state = make_policy().state
    turned = state._replace(queues=state.queues._replace(request=state.queues.request.T))
    with pytest.raises(AssertionError):
        addresses_of(turned)


def test_growth_in_the_middle_keeps_queue_and_batches():
    policy = make_policy()
    for request in range(1000):
        policy.arrive(0, 1, request, 10**9)
    decision = policy.decide(0)
    # All fit far ahead of the deadline, one a batch: rings and flights have grown past 256.
    assert [d.requests for d in decision.dispatches] == [(request,) for request in range(1000)]
    assert policy.state.flights.worker.shape[0] >= 1000
    for request, dispatch in enumerate(decision.dispatches):
        policy.complete(dispatch.end_us[0], request, 0)
    assert np.all(policy.state.flights.head == -1)
