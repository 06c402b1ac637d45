"""How three classes of user ask a server for inference. The laws are made up; their shapes are those of serving traces.

A user is away, opens a session, asks a model, follows up a number of times, perhaps switches to the other model, and
closes. Sessions come in spells (a hidden activity), their lengths have heavy tails, and a ``batch`` user sends
requests so fast that a few of them at one time are a burst for the server.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from types import MappingProxyType

import numpy as np

from penstock.arrays import F64


@dataclass(frozen=True)
class UserClass:
    """Times in seconds; shares are probabilities; turns are requests of a session."""

    away_median_s: float
    away_sigma: float
    steady_sigma: float
    moving_sigma: float
    persistence: float
    turns_median: float
    turns_sigma: float
    think_median_s: float
    think_sigma: float
    think_session_sigma: float
    """Of the logarithm of a session's own pace: its think times depend on each other."""
    switch_share: float
    first_is_a: float

    def row(self) -> F64:
        """The numbers in the order of the fields, for the kernel."""
        return np.array(astuple(self), np.float64)


USER_CLASSES = MappingProxyType(
    {
        "chat": UserClass(150.0, 1.0, 0.3, 0.8, 0.8, 4.0, 0.8, 12.0, 0.9, 0.5, 0.04, 0.75),
        "agent": UserClass(200.0, 0.9, 0.4, 0.8, 0.8, 14.0, 0.9, 0.60, 0.8, 0.6, 0.06, 0.6),
        "batch": UserClass(700.0, 0.8, 0.3, 0.5, 0.7, 60.0, 0.5, 0.030, 0.5, 0.3, 0.005, 0.5),
    }
)
"""Classes by name."""

BUSY_BY_HOUR = MappingProxyType(
    {
        "chat": (
            30,
            22,
            18,
            15,
            15,
            20,
            35,
            60,
            90,
            110,
            115,
            112,
            100,
            105,
            112,
            115,
            112,
            105,
            95,
            90,
            85,
            75,
            60,
            45,
        ),
        "agent": (
            60,
            55,
            50,
            50,
            50,
            55,
            60,
            75,
            95,
            115,
            120,
            118,
            105,
            110,
            118,
            120,
            115,
            100,
            85,
            80,
            75,
            70,
            68,
            65,
        ),
        "batch": (
            160,
            170,
            170,
            160,
            150,
            130,
            110,
            95,
            80,
            75,
            75,
            75,
            80,
            80,
            78,
            76,
            80,
            85,
            95,
            100,
            110,
            125,
            140,
            150,
        ),
    }
)
"""Per cent of the usual activity, hour by hour."""

USER_EVENTS = ("open", "infer:a", "infer:b", "follow-up", "switch", "close")
