"""Which events of a stream ask for inference, and which model they ask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.streams import Streams

INFER, FOLLOW_UP = "infer", "follow-up"


@dataclass(frozen=True)
class Requests:
    """The requests of streams, in order of stream and time; ``named`` is the model's name by number, -1 for none.

    ``first[s]`` to ``first[s + 1]`` are the rows of stream s, which may have none.
    """

    time_us: I64
    named: I64
    first: I64
    names: tuple[str, ...]


def requests_of(streams: Streams) -> Requests:
    """Events called ``infer``, ``infer:NAME`` and ``follow-up`` are requests, if any is; else every event is one.

    A follow-up asks the model of the last ``infer:NAME`` of its stream.
    """
    names = tuple(name.partition(":")[2] for name in streams.events if name.startswith(f"{INFER}:"))
    asked = np.array(
        [
            names.index(name.partition(":")[2]) if name.startswith(f"{INFER}:") else -1
            for name in streams.events
        ]
    )
    asks = np.array([name.partition(":")[0] in (INFER, FOLLOW_UP) for name in streams.events])
    if not asks.any():
        asks[:] = True
    named = asked[streams.event]
    # The row of the last event that names a model, within the stream.
    rows = np.where(named >= 0, np.arange(len(named)), -1)
    last = np.maximum.accumulate(rows)
    begin = streams.first[:-1][streams.stream_of_event]
    named = np.where(last >= begin, named[last], -1)
    kept = asks[streams.event]
    counts = np.bincount(streams.stream_of_event[kept], minlength=len(streams))
    return Requests(
        streams.time_us[kept], named[kept].astype(np.int64), np.concatenate([[0], np.cumsum(counts)]), names
    )


def models_by_name(requests: Requests, models: int) -> I64:
    """The model of each request if the events name it, in order of the names: model 0 is the first name.

    Raises :class:`BadInputError` unless there are as many names as ``models``, and every request has one.
    """
    if len(requests.names) != models:
        raise BadInputError(
            f"the events name the models {', '.join(requests.names) or '(none)'}, but the plan has {models}. Leave out "
            f"models=events: each stream then asks one model."
        )
    # A stream may begin in the middle of a session: its first follow-ups ask the first model that it names later.
    named = requests.named.copy()
    named[named < 0] = 0
    return named
