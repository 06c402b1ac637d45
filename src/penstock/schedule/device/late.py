"""What to do with a job that will miss its deadline, and how many misses each type may have.

``keep``: nothing, it runs in its turn. ``demote``: it runs only while no other job can; it is answered, late as a rule.
``drop``: it is taken out at once and the driver answers it as dropped.
"""

from __future__ import annotations

from enum import Enum
from typing import final

from penstock.errors import BadInputError


class Late(Enum):
    """The three rules, by the names used in files and at the command line."""

    KEEP = "keep"
    DEMOTE = "demote"
    DROP = "drop"


def late_by_name(name: str) -> Late:
    """The rule called ``name``. Raises :class:`BadInputError` for any other name."""
    try:
        return Late(name)
    except ValueError:
        known = ", ".join(rule.value for rule in Late)
        raise BadInputError(f"late (={name!r}) must be one of {known}.") from None


@final
class MissBudgets:
    """For each type, the misses it may still have: ``share`` of its arrivals, less the misses so far."""

    def __init__(self, types: int, share: float) -> None:
        if not 0 <= share < 1:
            raise BadInputError(f"miss_budget (={share}) must lie in [0, 1): 0.01 holds every type at 99%.")
        self._share = share
        self.left = [0.0] * types

    def arrived(self, job_type: int) -> None:
        """One more job of the type: the budget grows by ``share``."""
        self.left[job_type] += self._share

    def missed(self, job_type: int) -> None:
        """A job of the type misses its deadline."""
        self.left[job_type] -= 1.0

    def met_after_all(self, job_type: int) -> None:
        """A job that was counted as a miss met its deadline."""
        self.left[job_type] += 1.0
