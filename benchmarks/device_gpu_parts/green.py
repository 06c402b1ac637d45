"""Two green contexts on separate multiprocessors, through the driver's own interface (``cuda.bindings``).

Not by ``torch.cuda.green_contexts``: each context that it makes is cut from the start of the whole device (its source
splits the device's resource anew each time), so two of them share multiprocessors, and "half each" would be twice the
same half. Its objects also end the process if the driver refuses to destroy one (a throw in a ``noexcept`` destructor).
The driver splits the device once, into groups that are apart, and makes streams of a context that need no context to be
current. The contexts live as long as the process.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

LEAST_SMS = 8
"""Groups are multiples of so many multiprocessors from compute capability 9.0 on, and of fewer before."""

NON_BLOCKING = 1
"""Flag of a stream that does not wait for the legacy stream."""

DEFAULT_STREAM = 1
"""The one flag that a green context takes, and must have."""


class NoGreenContextsError(RuntimeError):
    """The message says what is missing."""


@dataclass(frozen=True)
class GreenSide:
    """One context: ``sms`` multiprocessors, and handles of its streams."""

    sms: int
    handles: tuple[int, ...]


def import_driver() -> Any:
    """``cuda.bindings.driver``, or :class:`NoGreenContextsError`."""
    try:
        from cuda.bindings import driver
    except ImportError as error:
        raise NoGreenContextsError(
            f"no cuda.bindings ({error}), which torch for CUDA brings; torch's own green contexts overlap"
        ) from error
    if not hasattr(driver, "cuGreenCtxStreamCreate"):
        raise NoGreenContextsError("cuda.bindings is older than green contexts with streams (CUDA 12.5)")
    return driver


def halves(driver: Any, device_index: int, streams: int) -> tuple[GreenSide, GreenSide]:
    """The device in two contexts that share no multiprocessor, with ``streams`` streams each.

    A primary context must be current: torch has one once it has allocated something on the device.
    """
    device = _checked("cuDeviceGet", driver.cuDeviceGet(device_index))
    kind = driver.CUdevResourceType.CU_DEV_RESOURCE_TYPE_SM
    whole = _checked("cuDeviceGetDevResource", driver.cuDeviceGetDevResource(device, kind))
    half = max(whole.sm.smCount // 2 // LEAST_SMS * LEAST_SMS, LEAST_SMS)
    # The answer is (groups, how many, what is left); the rest is the other half.
    groups, _, rest = _checked_all(
        "cuDevSmResourceSplitByCount", driver.cuDevSmResourceSplitByCount(1, whole, 0, half)
    )
    first, second = (_side(driver, device, resource, streams) for resource in (groups[0], rest))
    if first.sms + second.sms > whole.sm.smCount or min(first.sms, second.sms) < 1:
        raise NoGreenContextsError(
            f"{whole.sm.smCount} multiprocessors were split into {first.sms} and {second.sms}, which cannot be apart"
        )
    return first, second


def _side(driver: Any, device: Any, resource: Any, streams: int) -> GreenSide:
    description = _checked("cuDevResourceGenerateDesc", driver.cuDevResourceGenerateDesc([resource], 1))
    context = _checked("cuGreenCtxCreate", driver.cuGreenCtxCreate(description, device, DEFAULT_STREAM))
    handles = tuple(
        int(_checked("cuGreenCtxStreamCreate", driver.cuGreenCtxStreamCreate(context, NON_BLOCKING, 0)))
        for _ in range(streams)
    )
    return GreenSide(int(resource.sm.smCount), handles)


def _checked_all(what: str, answer: Sequence[Any]) -> tuple[Any, ...]:
    status, *made = answer
    if int(status) != 0:
        raise NoGreenContextsError(f"{what}: {status}")
    return tuple(made)


def _checked(what: str, answer: Sequence[Any]) -> Any:
    (made,) = _checked_all(what, answer)
    return made
