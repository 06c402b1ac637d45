"""The ground-truth simulator: streams of one class and hour, by name of machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.traffic.streams import Streams, join_streams
from penstock.traffic.suggest import suggest
from penstock.traffic.truth import device_classes, user_classes
from penstock.traffic.truth.truth_kernels import DEVICE, USER, count_all, fill_all

HOUR_US = 3_600_000_000
TRUTH_CLASSES: Mapping[str, tuple[str, ...]] = {
    "lte": tuple(device_classes.DEVICE_CLASSES),
    "5g": tuple(device_classes.DEVICE_CLASSES),
    "serving": tuple(user_classes.USER_CLASSES),
}
"""Machines that can be simulated, each with its classes."""


def simulate_truth(
    machine: str = "lte",
    streams: int = 20_000,
    klass: str = "phone",
    hour: int = 10,
    seed: int = 1,
    hours: int = 1,
) -> Streams:
    """``streams`` devices or users of ``klass`` that do something in the window of ``hours`` from ``hour`` on.

    Stream i depends on (``seed``, i, ``klass``) alone. ``classes`` of the result are all classes of the machine, so
    that parts can be joined. Raises :class:`BadInputError` for an unknown machine or class, an hour outside 0 to
    23, or counts below 1.
    """
    _check(machine, streams, klass, hour, hours)
    classes = TRUTH_CLASSES[machine]
    code = classes.index(klass)
    kind, law, busy, names, has_update = _law(machine, klass)
    # Classes of one seed are different devices, and so are seeds.
    key = int(np.random.default_rng([seed, code]).integers(0, 2**62))
    length_us = hours * HOUR_US
    counts = np.zeros(0, np.int64)
    while (missing := streams - np.count_nonzero(counts)) > 0:
        # Devices without an event in the window are left out; few are, so a second round is short.
        more = np.zeros(missing + missing // 8, np.int64)
        count_all(kind, key, len(counts), law, busy, hour, length_us, has_update, more)
        counts = np.concatenate([counts, more])
    numbers = np.flatnonzero(counts)[:streams]
    first = np.concatenate([[0], np.cumsum(counts[numbers])]).astype(np.int64)
    event, time_us = np.empty(first[-1], np.int16), np.empty(first[-1], np.int64)
    fill_all(kind, key, numbers, first, law, busy, hour, length_us, has_update, event, time_us)
    return Streams(
        event,
        time_us,
        first,
        np.full(streams, code, np.int16),
        tuple(filter(None, names)),
        classes,
        length_us,
    )


def simulate_mix(
    machine: str, streams: Mapping[str, int], hour: int = 10, seed: int = 1, hours: int = 1
) -> Streams:
    """Several classes at one time: so many streams of each."""
    return join_streams(
        [simulate_truth(machine, count, klass, hour, seed, hours) for klass, count in streams.items()]
    )


def _law(machine: str, klass: str) -> tuple[int, F64, F64, tuple[str, ...], bool]:
    if machine == "serving":
        busy = np.array(user_classes.BUSY_BY_HOUR[klass]) / 100.0
        return USER, user_classes.USER_CLASSES[klass].row(), busy, user_classes.USER_EVENTS, False
    busy = np.array(device_classes.BUSY_BY_HOUR[klass]) / 100.0
    names = device_classes.ROLE_EVENTS[machine]
    return DEVICE, device_classes.DEVICE_CLASSES[klass].row(), busy, names, bool(names[-1])


def _check(machine: str, streams: int, klass: str, hour: int, hours: int) -> None:
    if machine not in TRUTH_CLASSES:
        raise BadInputError(f"machine {machine!r} has no simulator. {suggest(machine, TRUTH_CLASSES)}")
    if klass not in TRUTH_CLASSES[machine]:
        raise BadInputError(
            f"class {klass!r} is unknown for {machine}. {suggest(klass, TRUTH_CLASSES[machine])}"
        )
    if not 0 <= hour <= 23:
        raise BadInputError(f"hour (={hour}) must be 0 to 23.")
    if streams < 1 or hours < 1:
        raise BadInputError(f"streams (={streams}) and hours (={hours}) must be at least 1.")
