"""A fake driver: the real ctypes layer of pynvml over a small C library, built here from ``nvml_stub.c``.

State is a text file that the library reads on every call. :func:`install` puts the library in this process;
processes started with ``environment`` find it by LD_LIBRARY_PATH, as they would find the real one.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "nvml_stub.c"
SOURCE_NAME = "libnvidia-ml.so.1"


@dataclass(frozen=True)
class FakeGpu:
    name: str = "NVIDIA L4"
    uuid: str = "GPU-l4-0"
    total_mib: int = 23034
    used_mib: int = 512
    sm_mhz: int = 1500
    memory_mhz: int = 6251
    max_sm_mhz: int = 2040
    max_memory_mhz: int = 6251
    power_mw: int = 31_500
    limit_mw: int = 72_000
    energy_mj: int = 123_456
    reasons: int = 0
    lost: bool = False
    mig: int = 0

    def line(self) -> str:
        values = (
            *(self.name, self.uuid, self.total_mib, self.used_mib, self.sm_mhz, self.memory_mhz),
            *(self.max_sm_mhz, self.max_memory_mhz, self.power_mw, self.limit_mw, self.energy_mj),
            *(self.reasons, int(self.lost), self.mig),
        )
        return "gpu;" + ";".join(map(str, values))


class FakeNvml:
    """The driver's state. ``more``: lines of MIG instances and processes."""

    def __init__(self, folder: Path) -> None:
        self.state = folder / "nvml-state"
        self.library = folder / SOURCE_NAME
        self.gpus: list[FakeGpu] = []
        self.more: list[str] = []
        self.environment = {
            **os.environ,
            "PENSTOCK_FAKE_NVML": str(self.state),
            "LD_LIBRARY_PATH": str(folder),
        }

    def show(self, gpus: Sequence[FakeGpu], more: Sequence[str] = ()) -> None:
        """The driver has ``gpus`` from now on. The file is replaced whole: a reader sees the old or the new."""
        self.gpus, self.more = list(gpus), list(more)
        new = self.state.with_suffix(".new")
        new.write_text("\n".join([*(gpu.line() for gpu in gpus), *more]) + "\n")
        new.replace(self.state)

    def lose(self, index: int) -> None:
        """Device ``index`` falls off the bus."""
        self.gpus[index] = replace(self.gpus[index], lost=True)
        self.show(self.gpus, self.more)


def build(folder: Path) -> FakeNvml:
    """The library, compiled into ``folder``; the test is skipped if there is no compiler or no pynvml."""
    pytest.importorskip("pynvml", reason="the extra 'gpu' (nvidia-ml-py) is not installed")
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler: the stub of NVML cannot be built")
    fake = FakeNvml(folder)
    subprocess.run(
        [compiler, "-shared", "-fPIC", f"-Wl,-soname,{SOURCE_NAME}", "-o", str(fake.library), str(SOURCE)],
        check=True,
        timeout=60,
    )
    fake.show([])
    return fake


def install(fake: FakeNvml, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make ``pynvml`` of this process use the library, until the test ends."""
    import pynvml

    monkeypatch.setenv("PENSTOCK_FAKE_NVML", str(fake.state))
    monkeypatch.setattr(pynvml, "nvmlLib", ctypes.CDLL(str(fake.library)))
    # Pointers into a library that an earlier test loaded.
    monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
