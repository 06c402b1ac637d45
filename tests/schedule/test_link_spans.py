"""Spans of links against sets of busy microseconds."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleet_tables import Pipeline, Stage, make_table
from penstock.schedule.mechanism.link_kernels import first_fit, hold, release
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.state.arrays import Links, make_reservations


def two_links() -> tuple[Links, Links]:
    held = make_reservations(make_table([(100, [Pipeline(1, [Stage([10], [0, 1])])])]))
    return held.uplinks, held.downlinks


def spans(links: Links, host: int) -> list[tuple[int, int]]:
    count = int(links.length[host])
    return list(zip(links.start_us[host, :count].tolist(), links.end_us[host, :count].tolist(), strict=True))


@settings(deadline=None)  # the first call compiles
@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 60), st.integers(1, 8), st.booleans()), max_size=40)
)
def test_first_fit_is_the_earliest_time_free_on_both(transfers):
    up, down = two_links()
    busy: list[set[int]] = [set(), set()]
    uplink: set[int] = set()
    for receiver, ready, length, gives_back in transfers:
        start = first_fit(up, 0, down, receiver, ready, length)
        taken = uplink | busy[receiver]
        expected = next(t for t in range(1000) if t >= ready and not taken & set(range(t, t + length)))
        assert start == expected
        hold(up, 0, 0, start, start + length)
        hold(down, receiver, 0, start, start + length)
        span = set(range(start, start + length))
        if gives_back:
            release(up, 0, start, start + length)
            release(down, receiver, start, start + length)
        else:
            uplink |= span
            busy[receiver] |= span
        for links, host, held in ((up, 0, uplink), (down, receiver, busy[receiver])):
            assert {t for a, b in spans(links, host) for t in range(a, b)} == held


def test_neighbours_become_one_span_and_the_past_is_forgotten():
    up, _ = two_links()
    hold(up, 0, 0, 10, 20)
    hold(up, 0, 0, 30, 40)
    hold(up, 0, 0, 20, 30)
    assert spans(up, 0) == [(10, 40)]
    hold(up, 0, 40, 50, 60)
    assert spans(up, 0) == [(50, 60)]


def test_a_full_link_promises_less_never_more():
    up, down = two_links()
    room = up.start_us.shape[1]
    for index in range(room + 1):
        hold(up, 0, 0, 10 * index, 10 * index + 5)
    assert int(up.length[0]) == room
    assert spans(up, 0)[:2] == [(0, 15), (20, 25)]
    # The gap from 5 to 10 is lost; the next one is not.
    assert first_fit(up, 0, down, 0, 0, 5) == 15


def test_a_transfer_may_go_before_one_that_was_promised_earlier():
    # Model 0 sends at 50; model 1, decided afterwards on the same host, at 10: it does not wait for the other.
    slow = Pipeline(1, [Stage([50], [0]), Stage([10], [1], [5])])
    fast = Pipeline(1, [Stage([10], [0]), Stage([10], [1], [5])])
    policy = ReservationPolicy(make_table([(200, [slow]), (200, [fast])]))
    policy.arrive(0, 0, 0, 200)
    policy.arrive(0, 1, 1, 200)
    assert [d.start_us for d in policy.decide(0).dispatches] == [(0, 55), (0, 15)]


def test_a_transfer_of_no_length_passes_through_a_promised_span():
    up, down = two_links()
    hold(up, 0, 0, 10, 20)
    assert first_fit(up, 0, down, 1, 15, 0) == 15
