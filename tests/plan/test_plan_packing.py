"""Packing shares of devices: cases by hand, and an exhaustive oracle."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import BadInputError
from penstock.plan.exact.packing import fewest_devices, pack, packs_by_sum, patterns


def test_the_patterns_of_shares_up_to_four():
    # Halves, thirds, quarters: to none of these can a further quarter, or a larger share, be added.
    by_hand = {
        (1, 0, 0, 0),
        (0, 2, 0, 0),
        (0, 1, 1, 0),
        (0, 1, 0, 2),
        (0, 0, 3, 0),
        (0, 0, 2, 1),
        (0, 0, 1, 2),
        (0, 0, 0, 4),
    }
    assert set(patterns((1, 2, 3, 4))) == by_hand


def test_sums_decide_up_to_four_and_along_divisors_only():
    assert packs_by_sum((1, 2, 3, 4))
    assert packs_by_sum((1, 2, 4, 8, 16))
    assert not packs_by_sum((2, 3, 4, 5))
    assert not packs_by_sum(tuple(range(1, 13)))  # too many cases to try: patterns are always right


def test_where_the_sum_is_too_small():
    # 1/2 + 2/3 + 4/5 = 59/30 < 2. One device takes the half and at most a third or two fifths, ...
    assert fewest_devices({2: 1, 3: 2, 5: 4}) == 3
    assert fewest_devices({2: 1, 3: 2, 5: 3}) == 2


def test_too_many_patterns_are_refused():
    with pytest.raises(BadInputError, match="max_share"):
        patterns(tuple(range(1, 17)))


def by_trying_all(workers: dict[int, int]) -> int:
    """The fewest devices: the largest worker goes with every set of others that fits."""
    shares = tuple(sorted(workers))

    @cache
    def fewest(left: tuple[int, ...], room: Fraction) -> int:
        best = math.inf
        for k, share in enumerate(shares):
            if left[k]:
                fewer = (*left[:k], left[k] - 1, *left[k + 1 :])
                if Fraction(1, share) <= room:
                    best = min(best, fewest(fewer, room - Fraction(1, share)))
                else:
                    best = min(best, 1 + fewest(fewer, 1 - Fraction(1, share)))
        return 0 if best is math.inf else int(best)

    return fewest(tuple(workers[share] for share in shares), Fraction(0))


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.integers(1, 7), st.integers(0, 4), min_size=1, max_size=4))
def test_no_packing_needs_fewer_devices(workers: dict[int, int]):
    devices = pack(workers)
    assert len(devices) == by_trying_all(workers)
    for share, number in workers.items():
        assert sum(device.get(share, 0) for device in devices) == number
    assert all(sum(Fraction(n, share) for share, n in device.items()) <= 1 for device in devices)
