"""Streams whose names have the same numbers: two files seldom number the same names in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from penstock.traffic.streams.columns import Streams


def same_vocabulary(samples: Sequence[Streams]) -> list[Streams]:
    """``samples`` with one list of events and one of classes: those of all, in order of first mention."""
    events = tuple(dict.fromkeys(name for one in samples for name in one.events))
    classes = tuple(dict.fromkeys(name for one in samples for name in one.classes))
    return [
        dataclasses.replace(
            one,
            event=_renumbered(one.event, one.events, events),
            klass=_renumbered(one.klass, one.classes, classes),
            events=events,
            classes=classes,
        )
        for one in samples
    ]


def _renumbered(codes: NDArray[np.int16], names: tuple[str, ...], new: tuple[str, ...]) -> NDArray[np.int16]:
    renumbered: NDArray[np.int16] = np.array([new.index(name) for name in names], np.int16)[codes]
    return renumbered
