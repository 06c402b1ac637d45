"""Give a journal's calls to a fresh policy, and compare what it decides with what the live one decided."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import zip_longest

from penstock.errors import BadInputError
from penstock.schedule.journal import replay
from penstock.schedule.policy import Decision, Policy
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.serve.dispatcher.journal import Journal

LEAST_WORK = "least-work"


@dataclass(frozen=True)
class JournalReplay:
    """What came of it. ``differing``: the places of decisions that differ, counted over all decisions."""

    calls: int
    decisions: int
    batches: int
    requests: int
    drops: int
    differing: tuple[int, ...]


def replay_journal(journal: Journal) -> JournalReplay:
    """Replay ``journal``; :class:`BadInputError` for a policy that is not known here."""
    made = replay(_policy(journal), journal.events)
    pairs = zip_longest(made, journal.decisions)
    decided: list[Decision] = journal.decisions
    return JournalReplay(
        calls=len(journal.events),
        decisions=len(decided),
        batches=sum(len(decision.dispatches) for decision in decided),
        requests=sum(len(dispatch.requests) for decision in decided for dispatch in decision.dispatches),
        drops=sum(len(decision.drops) for decision in decided),
        differing=tuple(place for place, (ours, theirs) in enumerate(pairs) if ours != theirs),
    )


def _policy(journal: Journal) -> Policy:
    if journal.policy == LEAST_WORK:
        from penstock.schedule.device.least_work import LeastWorkPolicy

        return LeastWorkPolicy(journal.table)
    if journal.policy not in RULES:
        raise BadInputError(
            f"the journal's policy (={journal.policy!r}) is none of {', '.join((*RULES, LEAST_WORK))}: use the release "
            f"that wrote it."
        )
    return ReservationPolicy(
        journal.table,
        rule=journal.policy,
        dispatch_us=journal.dispatch_us,
        overhead_us=journal.overhead_us,
        max_queue_delay_us=journal.max_queue_delay_us,
    )
