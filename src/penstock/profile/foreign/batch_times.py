"""What a benchmark of another tool says: the time of a whole model at a batch. And the profile made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.profile.latency_csv import parse_tables
from penstock.profile.table import Block, Profile, Provenance


@dataclass(frozen=True)
class BatchTime:
    """A batch of ``batch`` samples takes ``median_us``, and ``p99_us`` at the 99th percentile (None: not stated)."""

    batch: int
    median_us: float
    p99_us: float | None


def one_block_profile(
    model: str, device_class: str, times: Sequence[BatchTime], *, tool: str, note: str = ""
) -> Profile:
    """A profile of the whole model as one block. Batches between those of ``times`` are interpolated.

    What crosses its boundaries is unknown and counts 0 bytes, because a model of one block is never cut. Raises
    :class:`BadInputError` for a batch that is given twice, and for times that are no times.
    """
    batches = [one.batch for one in times]
    if len(set(batches)) != len(batches):
        twice = next(batch for batch in batches if batches.count(batch) > 1)
        raise BadInputError(f"batch {twice} is given twice. Name one file for each batch.")
    has_p99 = all(one.p99_us is not None for one in times)
    rows = [
        f"{device_class},1,all,{one.batch},{one.median_us:.3f},"
        + (f"{max(one.p99_us or 0.0, one.median_us):.3f}" if has_p99 else "")
        for one in times
    ]
    text = "\n".join(["device_class,share,block,batch,latency_us,p99_us", *rows])
    return Profile(
        model=model,
        blocks=(Block("all", (), 0, 0),),
        boundary_bytes=(0, 0),
        tables=parse_tables(text, ["all"], Path(tool)),
        provenance=Provenance(
            kind="imported",
            device=device_class,
            software=tool,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            note=note,
        ),
    )


def least(times: Sequence[BatchTime]) -> BatchTime:
    """The fastest of several measurements of one batch."""
    return min(times, key=lambda one: (one.median_us, np.inf if one.p99_us is None else one.p99_us))
