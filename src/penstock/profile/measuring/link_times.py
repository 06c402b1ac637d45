"""Copies between a GPU, the host's memory and the other GPUs that are seen from here, timed by torch's events.

In a process of its own, like everything that opens CUDA for a measurement. What a hop of :mod:`penstock.serve` takes is
more: two workers, and the host's memory between them.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from statistics import median
from typing import Any, Protocol, final

from penstock.device.cuda_order import number_as_the_driver_does
from penstock.errors import BadInputError, PenstockError
from penstock.profile.links import Link, LinkKind, fit_link

SIZES = (1 << 12, 1 << 18, 1 << 20, 1 << 23, 1 << 25)
RUNS = 15
LONGEST_S = 60.0
"""For the process to start CUDA and to copy; it takes some seconds."""


@dataclass(frozen=True)
class End:
    """One way from or to the device. ``peer`` is the other device, if there is one."""

    kind: LinkKind
    peer: str = ""
    is_direct: bool | None = None


class CopyMeter(Protocol):
    """A device whose copies can be timed."""

    def ends(self) -> Sequence[End]:
        """The ways that there are."""
        ...

    def copy_us(self, end: End, size_bytes: int) -> float:
        """The median time of a copy."""
        ...


def time_links(meter: CopyMeter, sizes: Sequence[int] = SIZES) -> tuple[Link, ...]:
    """A link for each way of ``meter``."""
    return tuple(
        fit_link(end.kind, sizes, [meter.copy_us(end, size) for size in sizes], end.peer, end.is_direct)
        for end in meter.ends()
    )


@final
class TorchCopies:
    """The GPU ``device`` (``cuda:N``) beside all others that torch sees; the host's side is pinned memory."""

    def __init__(self, torch: Any, device: str) -> None:
        self._torch = torch
        self._device = torch.device(device if ":" in device else "cuda:0")
        count = torch.cuda.device_count()
        self._others = [torch.device("cuda", at) for at in range(count) if at != self._device.index]

    def ends(self) -> Sequence[End]:
        """To the host and back, then to each other device."""
        cuda = self._torch.cuda
        return [
            End("host-to-device"),
            End("device-to-host"),
            *(
                End(
                    "device-to-device",
                    self._name(other),
                    bool(cuda.can_device_access_peer(self._device, other)),
                )
                for other in self._others
            ),
        ]

    def copy_us(self, end: End, size_bytes: int) -> float:
        """By events of the device that sends, of :data:`RUNS` copies after two."""
        torch = self._torch
        source, target = self._ends_of(end, size_bytes)
        times = []
        with torch.cuda.device(self._device):
            for turn in range(RUNS + 2):
                begin, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                target.copy_(source, non_blocking=True)
                stop.record()
                stop.synchronize()
                if turn >= 2:
                    times.append(float(begin.elapsed_time(stop)) * 1e3)
        return max(median(times), 1e-3)

    def _ends_of(self, end: End, size_bytes: int) -> tuple[Any, Any]:
        torch = self._torch
        here = torch.zeros(size_bytes, dtype=torch.uint8, device=self._device)
        if end.kind == "device-to-device":
            (other,) = (one for one in self._others if self._name(one) == end.peer)
            return here, torch.zeros_like(here, device=other)
        host = torch.zeros(size_bytes, dtype=torch.uint8, pin_memory=True)
        return (host, here) if end.kind == "host-to-device" else (here, host)

    def _name(self, device: Any) -> str:
        found = self._torch.cuda.get_device_properties(device)
        uuid = getattr(found, "uuid", None)
        return f"{found.name}, device {device.index}" if uuid is None else f"GPU-{uuid}"


def measure_links(device: str, limit_s: float = LONGEST_S) -> tuple[Link, ...]:
    """The links of the GPU ``device`` by torch; none if torch is not there or was not built for CUDA.

    Raises :class:`PenstockError` if the copies fail, or take longer than ``limit_s`` seconds.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_answer, args=(theirs, device), daemon=True)
    process.start()
    theirs.close()
    try:
        if not ours.poll(limit_s):
            raise PenstockError(f"copies of {device} were not timed within {limit_s:.0f} s.")
        found = ours.recv()
    except EOFError:
        process.join(5)
        raise PenstockError(
            f"the process that timed copies of {device} ended (exit code {process.exitcode})."
        ) from None
    finally:
        if process.is_alive():
            process.terminate()
        process.join()
    if isinstance(found, str):
        raise PenstockError(f"copies of {device} could not be timed: {found}")
    return tuple(found)


def _answer(connection: Connection, device: str) -> None:
    try:
        connection.send(list(_links_here(device)))
    except Exception as error:  # the parent says which device
        connection.send(f"{type(error).__name__}: {error}")


def _links_here(device: str) -> Iterator[Link]:
    try:
        import torch
    except ImportError:
        return
    number_as_the_driver_does()
    if torch.version.cuda is None:
        return
    if not torch.cuda.is_available():
        raise BadInputError(f"torch {torch.__version__} sees no GPU")
    yield from time_links(TorchCopies(torch, device))
