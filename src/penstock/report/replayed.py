"""A record beside the replay of its arrivals: figures of both by model, and requests whose fate differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from penstock.errors import BadInputError
from penstock.record import Outcome, Record, is_judged
from penstock.report.summary import ModelSummary, summarise


@dataclass(frozen=True)
class ModelReplay:
    """One model in the record and in the replay.

    ``only_record``: requests that met their deadline in the record and not in the replay; ``only_replay``: the other
    way round. ``agreement``: the share of requests whose deadline was met in both or in neither. Requests of the record
    whose client left are in none of the three.
    """

    name: str
    record: ModelSummary
    replay: ModelSummary
    only_record: int
    only_replay: int
    agreement: float


def compare_replay(record: Record, replay: Record) -> list[ModelReplay]:
    """The models of ``record``; request i of ``replay`` is request i of ``record``."""
    met = np.zeros(len(record.requests.request), np.bool_)
    if len(replay.requests.request) != len(met):
        raise BadInputError(
            f"the replay has {len(replay.requests.request)} requests and the record {len(met)}: they do not "
            f"belong together."
        )
    met[replay.requests.request] = replay.requests.outcome == Outcome.MET
    was_met = record.requests.outcome == Outcome.MET
    replayed: Mapping[str, ModelSummary] = {one.name: one for one in summarise(replay)}
    found = []
    for index, summary in enumerate(summarise(record)):
        own = (record.requests.model == index) & is_judged(record.requests.outcome)
        if not own.any():
            continue
        found.append(
            ModelReplay(
                name=summary.name,
                record=summary,
                replay=replayed[summary.name],
                only_record=int((own & was_met & ~met).sum()),
                only_replay=int((own & ~was_met & met).sum()),
                agreement=float((was_met == met)[own].mean()),
            )
        )
    return found
