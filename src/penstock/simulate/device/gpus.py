"""What a GPU can hold at once, by name: the limits of one SM, their number, and its queues and copy engines."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import final

from penstock.errors import BadInputError
from penstock.schedule.device import Need

MOST_QUEUES = 32
"""Hardware queues of every GPU since Kepler (CUDA C++ Programming Guide, CUDA_DEVICE_MAX_CONNECTIONS)."""


@final
@dataclass(frozen=True)
class Gpu:
    """Limits of a device. ``pending``: launches that a hardware queue takes before the sender has to wait.

    ``launch_us``: what the sender needs for one launch. ``copy_gbytes_per_s``: of each copy engine. Sources of
    the SM limits: CUDA C++ Programming Guide, compute capabilities 7.5 (T4), 6.0 (P100), 7.0 (V100) and 9.0
    (H100, H200).
    """

    name: str
    sms: int
    threads_per_sm: int
    blocks_per_sm: int
    registers_per_sm: int
    shared_bytes_per_sm: int
    copy_engines: int = 2
    copy_gbytes_per_s: float = 12.0
    pending: int = 1024
    launch_us: float = 3.0

    def resident(self, need: Need) -> int:
        """How many blocks of this kind the whole device holds at once: the tightest limit of an SM times its SMs.

        ``need`` states one block: ``blocks`` is 1. Raises :class:`BadInputError` for a block that fits no SM.
        """
        limits = [self.blocks_per_sm]
        for each, limit in (
            (need.threads, self.threads_per_sm),
            (need.registers, self.registers_per_sm),
            (need.shared_bytes, self.shared_bytes_per_sm),
        ):
            if each:
                limits.append(limit // each)
        if min(limits) < 1:
            raise BadInputError(
                f"a block of {need} does not fit an SM of {self.name}: make the block smaller."
            )
        return self.sms * min(limits)

    def capacity(self) -> Need:
        """The whole device, for a :class:`~penstock.schedule.device.ResourceWindow`."""
        return Need(
            self.sms * self.blocks_per_sm,
            self.sms * self.threads_per_sm,
            self.sms * self.registers_per_sm,
            self.sms * self.shared_bytes_per_sm,
        )


_KB = 1024

GPUS = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            Gpu("T4", 40, 1024, 16, 65536, 64 * _KB),
            Gpu("P100", 56, 2048, 32, 65536, 64 * _KB),
            Gpu("V100", 80, 2048, 32, 65536, 96 * _KB),
            Gpu("H100", 132, 2048, 32, 65536, 228 * _KB, copy_engines=3, copy_gbytes_per_s=50.0),
            Gpu("H200", 132, 2048, 32, 65536, 228 * _KB, copy_engines=3, copy_gbytes_per_s=50.0),
        )
    }
)


def gpu_by_name(name: str) -> Gpu:
    """The GPU called ``name``. Raises :class:`BadInputError` for any other name."""
    if name not in GPUS:
        raise BadInputError(f"GPU {name!r} is not known: use one of {', '.join(GPUS)}, or describe a Gpu.")
    return GPUS[name]
