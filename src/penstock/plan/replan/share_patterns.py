"""Share patterns: how the room of one device can be divided among workers on shares 1/n of it."""

from __future__ import annotations

from fractions import Fraction
from functools import cache

Pattern = tuple[tuple[int, int], ...]
"""(share, how many), shares ascending."""


@cache
def maximal_patterns(room: Fraction, shares: tuple[int, ...]) -> tuple[Pattern, ...]:
    """Every pattern of ``shares`` (ascending) within ``room`` of a device to which no further worker can be added.

    If no worker fits, the result is only the empty pattern. Patterns that leave room for a further share are left
    out, because any workers that fit into such a pattern also fit into a maximal one.
    """
    return tuple(pattern for pattern, left in _filled(room, shares) if not _fits_another(left, shares))


def _filled(room: Fraction, shares: tuple[int, ...]) -> list[tuple[Pattern, Fraction]]:
    """All patterns within ``room``, and the room that each leaves."""
    if not shares:
        return [((), room)]
    first, rest = shares[0], shares[1:]
    filled = []
    for number in range(int(room * first) + 1):
        taken: Pattern = ((first, number),) if number else ()
        left = room - Fraction(number, first)
        filled += [(taken + pattern, remaining) for pattern, remaining in _filled(left, rest)]
    return filled


def _fits_another(left: Fraction, shares: tuple[int, ...]) -> bool:
    return any(Fraction(1, share) <= left for share in shares)
