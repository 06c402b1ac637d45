"""How long it takes to load the workers of a change of plan, from the measured start times in the profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from penstock.plan.documents.held_pieces import Piece, running_pieces
from penstock.plan.documents.plan import Plan
from penstock.plan.questions.difference import PlanDifference
from penstock.profile.table import Profile


@dataclass(frozen=True)
class LoadTime:
    """``longest_us`` of one load, ``total_us`` of all. ``unknown``: loads on classes without a measured start."""

    longest_us: int
    total_us: int
    unknown: int

    @property
    def in_words(self) -> str:
        """For people; empty if no time is known."""
        if not self.longest_us:
            return ""
        unknown = f"; the time of {self.unknown} loads is unknown" if self.unknown else ""
        return (
            f"the longest load takes {self.longest_us / 1e6:.1f} s, all {self.total_us / 1e6:.1f} s{unknown}"
        )


def load_time(change: PlanDifference, profiles: Mapping[str, Profile]) -> LoadTime:
    """The time from the start until the worker is warm, over all workers that move or start."""
    return _total(
        [*(move.piece for move in change.moves), *(start.piece for start in change.starts)], profiles
    )


def start_time(plan: Plan, profiles: Mapping[str, Profile]) -> LoadTime:
    """The time until all workers of ``plan`` are warm, if none is there yet."""
    return _total([running.piece for running in running_pieces(plan)], profiles)


def _total(pieces: Sequence[Piece], profiles: Mapping[str, Profile]) -> LoadTime:
    times = [_piece_us(piece, profiles[piece.model]) for piece in pieces]
    known = [time for time in times if time is not None]
    return LoadTime(max(known, default=0), sum(known), len(times) - len(known))


def _piece_us(piece: Piece, profile: Profile) -> int | None:
    costs = profile.worker_costs.get(piece.device_class)
    if costs is None or not (costs.load_fixed_us or costs.load_us_per_gbyte):
        return None
    return costs.load_us(profile.parameter_bytes(piece.start, piece.stop))
