"""How three classes of device behave in a cellular network, hour by hour.

The laws are made up, of a plausible size. None is measured at an operator, because no operator publishes such traces.
They have what is hard for a generator: sojourn times with heavy tails, classes and hours that differ, and a hidden
activity that makes a device's sojourns depend on each other.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass
from types import MappingProxyType

import numpy as np

from penstock.arrays import F64


@dataclass(frozen=True)
class DeviceClass:
    """Times in seconds; shares are probabilities.

    Activity of a device = ``steady_sigma`` x a normal of its own + ``moving_sigma`` x a process of order 1 with
    coefficient ``persistence`` for each IDLE. IDLE lasts median x exp(activity + noise), CONNECTED an inactivity
    timer and a burst that is longer if the device is active.
    """

    idle_median_s: float
    idle_sigma: float
    idle_tail_share: float
    idle_tail_index: float
    steady_sigma: float
    moving_sigma: float
    persistence: float
    timer_s: float
    burst_median_s: float
    burst_sigma: float
    burst_activity: float
    """How strongly the burst follows the activity."""
    mobility_sigma: float
    """Of the logarithm of a device's own speed."""
    handover_gap_s: float
    handover_sigma: float
    update_after_handover: float
    idle_update_s: float
    idle_update_sigma: float
    close_share: float
    """Of the updates in IDLE that one release closes."""
    close_lag_s: float
    detach_share: float
    off_median_s: float
    off_sigma: float

    def row(self) -> F64:
        """The numbers in the order of the fields, for the kernel."""
        return np.array(astuple(self), np.float64)


DEVICE_CLASSES = MappingProxyType(
    {
        "phone": DeviceClass(
            idle_median_s=53.5,
            idle_sigma=0.80,
            idle_tail_share=0.06,
            idle_tail_index=1.6,
            steady_sigma=0.35,
            moving_sigma=0.88,
            persistence=0.90,
            timer_s=10.2,
            burst_median_s=5.0,
            burst_sigma=1.1,
            burst_activity=0.25,
            mobility_sigma=1.0,
            handover_gap_s=45.0,
            handover_sigma=1.0,
            update_after_handover=0.06,
            idle_update_s=900.0,
            idle_update_sigma=1.2,
            close_share=0.7,
            close_lag_s=1.1,
            detach_share=0.004,
            off_median_s=120.0,
            off_sigma=1.4,
        ),
        "connected car": DeviceClass(
            idle_median_s=42.0,
            idle_sigma=0.70,
            idle_tail_share=0.04,
            idle_tail_index=1.8,
            steady_sigma=0.30,
            moving_sigma=0.80,
            persistence=0.88,
            timer_s=10.2,
            burst_median_s=9.0,
            burst_sigma=1.0,
            burst_activity=0.20,
            mobility_sigma=0.7,
            handover_gap_s=9.0,
            handover_sigma=0.9,
            update_after_handover=0.15,
            idle_update_s=300.0,
            idle_update_sigma=1.0,
            close_share=0.6,
            close_lag_s=0.9,
            detach_share=0.012,
            off_median_s=600.0,
            off_sigma=1.2,
        ),
        "tablet": DeviceClass(
            idle_median_s=60.0,
            idle_sigma=0.95,
            idle_tail_share=0.08,
            idle_tail_index=1.4,
            steady_sigma=0.45,
            moving_sigma=1.10,
            persistence=0.93,
            timer_s=10.2,
            burst_median_s=7.0,
            burst_sigma=1.3,
            burst_activity=0.30,
            mobility_sigma=0.8,
            handover_gap_s=90.0,
            handover_sigma=1.1,
            update_after_handover=0.05,
            idle_update_s=1500.0,
            idle_update_sigma=1.2,
            close_share=0.7,
            close_lag_s=1.1,
            detach_share=0.006,
            off_median_s=300.0,
            off_sigma=1.5,
        ),
    }
)
"""Classes by name."""

BUSY_BY_HOUR = MappingProxyType(
    {
        "phone": (
            35,
            25,
            18,
            15,
            15,
            22,
            45,
            75,
            95,
            100,
            100,
            102,
            110,
            108,
            104,
            105,
            110,
            118,
            120,
            115,
            105,
            95,
            75,
            50,
        ),
        "connected car": (
            15,
            10,
            8,
            8,
            12,
            35,
            90,
            140,
            130,
            95,
            85,
            88,
            95,
            95,
            98,
            110,
            135,
            150,
            120,
            85,
            60,
            45,
            35,
            22,
        ),
        "tablet": (
            40,
            25,
            15,
            12,
            10,
            15,
            30,
            50,
            65,
            70,
            75,
            78,
            82,
            80,
            80,
            85,
            95,
            105,
            120,
            135,
            145,
            140,
            110,
            70,
        ),
    }
)
"""Per cent of the usual activity, hour by hour: IDLE is shorter by this factor."""

ROLES = ("attach", "detach", "request", "release", "handover", "update")
ROLE_EVENTS = MappingProxyType(
    {
        "lte": ("ATCH", "DTCH", "SRV_REQ", "S1_CONN_REL", "HO", "TAU"),
        "5g": ("REGISTER", "DEREGISTER", "SRV_REQ", "AN_REL", "HO", ""),
    }
)
"""What each of :data:`ROLES` is called in a machine; an empty name means that it has no such event."""
