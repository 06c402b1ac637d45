"""Fairness on one device: how evenly types are served while they have jobs waiting.

While types are *backlogged* (a job of each is here), an even device would give each of the Q of them 1/Q of its
time. For each type, what it got over what even sharing would have given it, both summed over the time that it
and another type were backlogged; and Jain's index of these ratios: 1 if all are equal, 1/n if one got
everything (R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness and discrimination", DEC-TR-301,
1984). Jain's index of the *stretches* does not rise with fairness: a policy that is even in service lets long
jobs be late, and they are few.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final


@final
class ServiceShares:
    """Counts jobs here and segments running, by type."""

    def __init__(self, types: int) -> None:
        self._here = [0] * types
        self._running = [0] * types
        self.got_us = [0.0] * types
        self.fair_us = [0.0] * types

    def came(self, job_type: int) -> None:
        """A job arrived."""
        self._here[job_type] += 1

    def left(self, job_type: int) -> None:
        """A job ended."""
        self._here[job_type] -= 1

    def started(self, job_type: int) -> None:
        """A segment began to run."""
        self._running[job_type] += 1

    def ended(self, job_type: int) -> None:
        """A segment ended."""
        self._running[job_type] -= 1

    def passed(self, passed_us: float) -> None:
        """Time passed with the counts as they are."""
        backlogged = [job_type for job_type, here in enumerate(self._here) if here]
        running = sum(self._running)
        if len(backlogged) < 2 or not running:
            return
        for job_type in backlogged:
            self.got_us[job_type] += passed_us * self._running[job_type] / running
            self.fair_us[job_type] += passed_us / len(backlogged)

    def ratios(self) -> list[float]:
        """What each type got over its fair part, for the types that were ever backlogged with others."""
        return [got / fair for got, fair in zip(self.got_us, self.fair_us, strict=True) if fair > 0]

    def jain(self) -> float:
        """Jain's index of the ratios; 1 if no two types were ever backlogged together."""
        return jain_index(self.ratios())


def jain_index(shares: Sequence[float]) -> float:
    """``(sum x)^2 / (n sum x^2)``; 1 for no shares or all zero."""
    squares = sum(share * share for share in shares)
    return 1.0 if squares == 0 else sum(shares) ** 2 / (len(shares) * squares)
