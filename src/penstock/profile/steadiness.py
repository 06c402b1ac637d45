"""How far a profile's percentiles can be trusted: remarks for the one who measured it, while it is easily repeated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from penstock.profile.table import FEW_RUNS, LatencyTable, Profile

BUSY_FACTOR = 5.0
"""A 99th percentile of more than so many medians is not the model's: on a quiet machine it is below two."""

NOTICEABLE_US = 500
"""Shorter than this, a disturbance does not matter beside the time to carry a request."""


def remarks(profile: Profile, device_classes: Iterable[str]) -> Iterator[str]:
    """Sentences about the measured tables of ``device_classes``: disturbed, or of few runs."""
    for (device_class, share), table in sorted(profile.tables.items()):
        if device_class not in device_classes or table.p99_us is None:
            continue
        where = (
            f"device class {device_class}" if share == 1 else f"device class {device_class}, share {share}"
        )
        yield from _disturbed(profile, table, where)
        if 0 < table.runs < FEW_RUNS:
            yield (
                f"{where}: the 99th percentiles are of {table.runs} runs only, so they are the slowest run seen. "
                f"Measure longer with --seconds, or use fewer --blocks."
            )


def _disturbed(profile: Profile, table: LatencyTable, where: str) -> Iterator[str]:
    assert table.p99_us is not None
    factor = table.p99_us / np.maximum(table.latency_us, 1)
    matters = (factor > BUSY_FACTOR) & (table.p99_us > NOTICEABLE_US)
    if not matters.any():
        return
    block, column = np.unravel_index(int(np.argmax(np.where(matters, factor, 0.0))), factor.shape)
    yield (
        f"{where}: other work disturbed the measurement. The 99th percentile of {profile.blocks[int(block)].name} at "
        f"batch {int(column) + 1} is {table.p99_us[block, column]} us, {factor[block, column]:.0f} times its median. "
        f"Plans from this profile will promise little. Measure again when the machine is quiet. See "
        f"docs/profile-quality.md."
    )
