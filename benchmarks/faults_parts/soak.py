"""Long load at 90%: does any process of the server grow, in memory or in descriptors?"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from faults_parts.trial import ROLES, Answer, serving

SAMPLES = 40
"""Looks at the processes, over the second half: in the first, buffers and caches reach their size."""
GROWTH_MB_PER_HOUR = 4.0
"""What a process may grow, beyond what the scatter of its own figures explains."""
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class Growth:
    """Memory (bytes) and open descriptors of one process at each look, (looks,). ``is_gone``: it ended meanwhile."""

    name: str
    at_s: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    is_gone: bool = False

    @property
    def slope_mb_per_hour(self) -> tuple[float, float]:
        """The slope of the memory by least squares, and twice its standard error."""
        at = np.array(self.at_s) / 3600
        memory = np.array(self.memory) / 1e6
        (slope, _), covariance = np.polyfit(at, memory, 1, cov=True)
        return float(slope), float(2 * np.sqrt(covariance[0, 0]))

    @property
    def broken(self) -> list[str]:
        """The limits that do not hold. Descriptors of connections come and go, so halves are compared."""
        if self.is_gone:
            return [f"{self.name} ended"]
        slope, error = self.slope_mb_per_hour
        grew_mb = (self.memory[-1] - self.memory[0]) / 1e6
        found = []
        if slope - error > GROWTH_MB_PER_HOUR and grew_mb > 1.0:
            found.append(f"{self.name} grows by {slope:.1f} +- {error:.1f} MB an hour")
        half = len(self.descriptors) // 2
        if min(self.descriptors[half:]) > max(self.descriptors[:half]):
            found.append(f"{self.name} has more and more descriptors")
        return found


@dataclass
class Soak:
    """All answers, and each process."""

    answers: list[Answer]
    growths: list[Growth]
    left: list[str]

    @property
    def broken(self) -> list[str]:
        """The limits that do not hold."""
        found = [text for growth in self.growths for text in growth.broken]
        if any(one.status == 200 and not one.is_right for one in self.answers):
            found.append("wrong answers")
        if any(one.status == -1 for one in self.answers):
            found.append("requests without an answer")
        return found + (["something is left"] if self.left else [])


def soak(seconds: float, load_share: float = 0.9) -> Soak:
    """Load for ``seconds``."""
    left: list[str] = []
    with serving(left=left) as (it, load):
        growths = {pid: Growth(f"{role} {pid}") for role in ROLES for pid in it.processes(role)}
        growths[it.server.pid] = Growth("supervisor")
        over = threading.Event()
        looking = threading.Thread(target=_look, args=(growths, seconds, over))
        looking.start()
        try:
            answers = load.send(load.planned_rps * load_share, seconds)
        finally:
            over.set()
            looking.join()
    return Soak(answers, list(growths.values()), left)


def _look(growths: dict[int, Growth], seconds: float, over: threading.Event) -> None:
    over.wait(seconds / 2)
    step_s = seconds / 2 / SAMPLES
    for look in range(SAMPLES):
        for pid, growth in growths.items():
            process = Path(f"/proc/{pid}")
            try:
                pages = int((process / "statm").read_text().split()[1])
                descriptors = len(list((process / "fd").iterdir()))
            except OSError:
                growth.is_gone = True
                continue
            growth.at_s.append(look * step_s)
            growth.memory.append(pages * PAGE)
            growth.descriptors.append(descriptors)
        if over.wait(step_s):
            return
