"""Units inside the project: time in integer microseconds, sizes in bytes, rates in requests per second.

Other units appear only at the edges (files for people, the command line), named in the field.
"""

from __future__ import annotations

import math

US_PER_S = 1_000_000
US_PER_MS = 1_000
NEVER_US = 2**62
"""A time later than any other; far enough below the int64 limit that sums cannot overflow."""
LATEST_US = NEVER_US // 2
"""The latest time that a caller may name: what is added to it stays below :data:`NEVER_US`."""
LONGEST_US = 2**40
"""The longest duration that a table may name, 12.7 days: four times it, in units of a millionth, still fits."""


def us_from_seconds(seconds: float) -> int:
    """Microseconds of a duration in seconds, to the nearest one."""
    return round(seconds * US_PER_S)


def us_from_ms(ms: float) -> int:
    """Microseconds of a duration in milliseconds, to the nearest one."""
    return round(ms * US_PER_MS)


def transfer_us(size_bytes: float, bandwidth_gbps: float) -> float:
    """Time to move ``size_bytes`` over a link of ``bandwidth_gbps`` (1e9 bits a second), in microseconds.

    A float: rates are computed from it, and rounding one sample's transfer would bias them.
    """
    return size_bytes * 8.0 / (bandwidth_gbps * 1e3)


def whole_us(duration_us: float) -> int:
    """A duration rounded up to whole microseconds: reservations never end early.

    The tolerance keeps 3.0000000001 from becoming 4.
    """
    return math.ceil(duration_us - 1e-6)
