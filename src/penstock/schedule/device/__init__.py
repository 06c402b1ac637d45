"""One device that several models or stages share: which stage of which job runs next.

Reading order: ``job_types`` (what is decided about), ``device_policy`` (the decisions), ``orders`` (one a file),
``window`` (how much may be in flight), ``stage_times`` (learned while running), ``late``, ``device_journal``.
"""

from penstock.schedule.device.device_journal import JournalingDevicePolicy, replay_device
from penstock.schedule.device.device_policy import DevicePolicy
from penstock.schedule.device.job_types import DeviceDecision, JobType, Progress, Release
from penstock.schedule.device.late import Late
from penstock.schedule.device.orders import ORDERS
from penstock.schedule.device.window import Need, ResourceWindow, SegmentWindow

__all__ = [
    "ORDERS",
    "DeviceDecision",
    "DevicePolicy",
    "JobType",
    "JournalingDevicePolicy",
    "Late",
    "Need",
    "Progress",
    "Release",
    "ResourceWindow",
    "SegmentWindow",
    "replay_device",
]
