"""How much released work may be on the device at once: a number of segments, or the device's own resources.

The window keeps the device fed while the policy keeps the choice. Too narrow: the device idles between segments. Too
wide: work that was released cannot be reordered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

from penstock.errors import BadInputError


@final
@dataclass(frozen=True)
class Need:
    """What one stage takes of the device at most, in total over its blocks."""

    blocks: int
    threads: int = 0
    registers: int = 0
    shared_bytes: int = 0


class Window(Protocol):
    """Counts what is in flight. ``need`` is None for stages whose type states none."""

    def is_full(self) -> bool:
        """Whether no stage at all may be released now: a cheap answer before the order is asked."""
        ...

    def admits(self, need: Need | None) -> bool:
        """Whether this stage may be released now."""
        ...

    def take(self, need: Need | None) -> bool:
        """A stage is released. True if it went beyond what the device can hold now (an overshoot)."""
        ...

    def started(self, *, overshot: bool) -> None:
        """All blocks of a stage have begun."""
        ...

    def give_back(self, need: Need | None) -> None:
        """A stage has ended."""
        ...

    @property
    def in_flight(self) -> int:
        """Stages released and not ended."""
        ...


@final
class SegmentWindow:
    """At most ``width`` stages in flight, whatever their size."""

    def __init__(self, width: int) -> None:
        if width < 1:
            raise BadInputError(f"window (={width}) must be >= 1 segment in flight.")
        self.width = width
        self.in_flight = 0

    def is_full(self) -> bool:
        """Whether ``width`` stages are in flight."""
        return self.in_flight >= self.width

    def admits(self, need: Need | None) -> bool:
        """Whether a place is free."""
        return self.in_flight < self.width

    def take(self, need: Need | None) -> bool:
        """One place less."""
        self.in_flight += 1
        return False

    def started(self, *, overshot: bool) -> None:
        """Nothing: a stage holds its place until it ends."""

    def give_back(self, need: Need | None) -> None:
        """One place more."""
        self.in_flight -= 1


@final
class ResourceWindow:
    """Paella's rule: release while the device has room, and ``overshoot`` (B) stages beyond that.

    ``capacity``: the whole device, that is the limits of one SM times the number of SMs. A stage that does not fit
    what is free counts as an overshoot until all its blocks have begun (:meth:`started`). Strict: if the first stage
    in order may not go, none goes (no backfill). Source: Ng, Demoulin, Liu, "Paella", SOSP 2023, section 5.
    We count resources by stage, from release to end; the paper returns them block by block.
    """

    def __init__(self, capacity: Need, *, overshoot: int = 2) -> None:
        if capacity.blocks < 1:
            raise BadInputError(f"capacity (={capacity}) must hold at least one block.")
        if overshoot < 0:
            raise BadInputError(f"overshoot (={overshoot}) must be >= 0 stages.")
        self._capacity = capacity
        self._overshoot = overshoot
        self._used = [0, 0, 0, 0]
        self.outstanding = 0
        self.in_flight = 0

    def is_full(self) -> bool:
        """Never known before the stage is known, unless a full device is overshot as far as allowed."""
        return self.outstanding >= self._overshoot and self._used[0] >= self._capacity.blocks

    def admits(self, need: Need | None) -> bool:
        """Whether the stage fits, or may overshoot."""
        return self._fits(_stated(need)) or self.outstanding < self._overshoot

    def take(self, need: Need | None) -> bool:
        """Take the stage's resources, also beyond the device's; True if it overshoots."""
        overshot = not self._fits(_stated(need))
        self.outstanding += overshot
        self._add(_stated(need), 1)
        self.in_flight += 1
        return overshot

    def started(self, *, overshot: bool) -> None:
        """A stage that overshot has all its blocks on the device."""
        self.outstanding -= overshot

    def give_back(self, need: Need | None) -> None:
        """Free the stage's resources."""
        self._add(_stated(need), -1)
        self.in_flight -= 1

    def used(self) -> Need:
        """What is taken now; all zero on an idle device."""
        return Need(*self._used)

    def _fits(self, need: Need) -> bool:
        limits = _figures(self._capacity)
        return all(
            used + more <= limit for used, more, limit in zip(self._used, _figures(need), limits, strict=True)
        )

    def _add(self, need: Need, sign: int) -> None:
        self._used = [used + sign * more for used, more in zip(self._used, _figures(need), strict=True)]


def _figures(need: Need) -> tuple[int, int, int, int]:
    return need.blocks, need.threads, need.registers, need.shared_bytes


def _stated(need: Need | None) -> Need:
    if need is None:
        raise BadInputError(
            "a resource window needs JobType.needs for every type: state them, or use SegmentWindow."
        )
    return need
