"""How long to wait before a process that died is started again."""

from __future__ import annotations

from collections.abc import Hashable
from typing import final

from penstock.units import US_PER_S

RESTART_US = 100_000
"""The first wait. It doubles with every start that fails."""
LONGEST_RESTART_US = 5 * US_PER_S
"""A process that dies again and again is started ever more slowly, but it is never given up."""
STABLE_US = 10 * US_PER_S
"""A process that was up so long starts again with the first wait. One that comes up and dies at once is a storm too."""


@final
class RestartDelays:
    """The waits of every process, by any key."""

    def __init__(self) -> None:
        self._failures: dict[Hashable, int] = {}

    def next_us(self, key: Hashable, was_up_us: int = 0) -> int:
        """The wait after one more failure of ``key``, which was up for ``was_up_us`` before."""
        failures = 0 if was_up_us >= STABLE_US else self._failures.get(key, 0)
        self._failures[key] = failures + 1
        return min(RESTART_US << min(failures, 10), LONGEST_RESTART_US)
