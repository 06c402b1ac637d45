"""Sessions of a Mooncake trace, rebuilt from the prefixes that its requests share.

``hash_ids`` names the blocks of a prompt, and a block's name stands for the whole prefix up to it. Two requests with a
common block therefore share everything before it. The previous turn of a request is the earlier request that shares the
longest prefix with it; of several, the last. Block 0 does not count, because nearly all prompts begin with the same
one. The published conversation trace of 12,031 requests has 7,373 sessions by this rule.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.formats.lines import read_lines
from penstock.traffic.streams.columns import Streams
from penstock.traffic.streams.stream_files import build_streams

FIRST_TURN, NEXT_TURN = "infer", "follow-up"


def load_sessions(path: Path) -> Streams:
    """One stream a session; its events are the first turn and the following ones.

    Times keep the trace's clock, which steps by about three seconds. Raises :class:`BadInputError` with the line.
    """
    session_of_block: dict[int, int] = {}
    session, event, times_ms = [], [], []
    sessions = 0
    for stamp, blocks in _requests(path):
        found = next((session_of_block[b] for b in reversed(blocks[1:]) if b in session_of_block), None)
        own = sessions if found is None else found
        sessions += found is None
        session_of_block.update(dict.fromkeys(blocks[1:], own))
        session.append(str(own))
        event.append(FIRST_TURN if found is None else NEXT_TURN)
        times_ms.append(stamp)
    time_us = np.rint(np.array(times_ms, np.float64) * 1e3).astype(np.int64)
    return build_streams(str(path), session, None, event, time_us)


def _requests(path: Path) -> Iterator[tuple[float, list[int]]]:
    for line, text in enumerate(read_lines(path), start=1):
        if not text.strip():
            continue
        try:
            request: Any = json.loads(text)
            stamp, blocks = request["timestamp"], request["hash_ids"]
            sound = isinstance(stamp, int | float) and stamp >= 0 and all(isinstance(b, int) for b in blocks)
        except (ValueError, KeyError, TypeError, RecursionError):
            sound = False
        if not sound:
            raise BadInputError(
                f"{path}: line {line}: must be a JSON object with timestamp, a number of milliseconds >= 0, and "
                f"hash_ids, a list of whole numbers. Correct or remove the line."
            )
        yield stamp, blocks
