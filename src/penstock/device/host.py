"""The host itself: cores and memory that this process may use, which in a container is less than the machine has."""

from __future__ import annotations

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class HostFacts:
    """``cores``: of the machine; ``usable_cores``: what affinity and the control group leave, may be a fraction.

    Bytes of memory: of the machine, what the control group allows (None: no limit), what is free now.
    """

    processor: str
    cores: int
    usable_cores: float
    memory_bytes: int | None
    memory_limit_bytes: int | None
    memory_free_bytes: int | None


def host_facts(root: Path = Path("/")) -> HostFacts:
    """This host; ``root`` is where /proc and /sys are looked for."""
    memory = {
        name: int(kib) * 1024
        for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    }
    found = re.search(r"^model name\s*:\s*(.+)$", _text(root / "proc/cpuinfo"), re.M)
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return HostFacts(
        processor=found[1].strip() if found else "",
        cores=os.cpu_count() or 1,
        usable_cores=min(allowed, _quota_cores(root)),
        memory_bytes=memory.get("MemTotal"),
        memory_limit_bytes=_number(_text(root / "sys/fs/cgroup/memory.max")),
        memory_free_bytes=memory.get("MemAvailable"),
    )


def _quota_cores(root: Path) -> float:
    """Cores' worth of time that the control group grants (Linux kernel, cgroup-v2, ``cpu.max``: quota and period)."""
    quota, _, period = _text(root / "sys/fs/cgroup/cpu.max").partition(" ")
    granted, each = _number(quota), _number(period)
    return math.inf if granted is None or not each else granted / each


def _number(text: str) -> int | None:
    return int(text) if text.strip().isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
