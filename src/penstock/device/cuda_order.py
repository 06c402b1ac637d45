"""The numbers of NVIDIA's devices: CUDA counts from the fastest, the driver (nvidia-smi) by their place on the bus.

On a machine with unlike GPUs ``cuda:0`` would be one device and the driver's device 0 another: a profile would name the
wrong one. CUDA reads its order when it starts in a process (CUDA C++ Programming Guide, "CUDA Environment Variables").
"""

from __future__ import annotations

import os

from penstock.errors import BadInputError

ORDER = "CUDA_DEVICE_ORDER"
BY_BUS = "PCI_BUS_ID"


def number_as_the_driver_does() -> None:
    """Let CUDA of this process, if it has not started, and of those that it starts count as the driver does, unless
    the user has chosen an order."""
    os.environ.setdefault(ORDER, BY_BUS)


def check_numbers_agree(number: str) -> None:
    """Raise :class:`BadInputError` if the user has chosen an order in which device ``number`` may be another one."""
    order = os.environ.get(ORDER, BY_BUS)
    if order != BY_BUS:
        raise BadInputError(
            f"device {number}: {ORDER}={order} numbers devices in another order than the driver, so it is not known "
            f"which one is meant. Unset it, or name the device by its UUID in CUDA_VISIBLE_DEVICES."
        )
