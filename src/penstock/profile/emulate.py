"""A device class made from another by factors: fleets of unlike devices on one machine, for demonstrations and
tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.profile.table import LatencyTable, Profile, Provenance


def derive_slower(
    profile: Profile,
    source_class: str,
    new_class: str,
    factor_per_block: F64,
    reason: str = "",
) -> Profile:
    """``profile`` with ``new_class`` added: the tables of ``source_class`` times a factor for each block.

    ``factor_per_block``: shape (blocks,), above 0; :func:`penstock.profile.prediction.predict.block_ratios` gives
    those of two catalogued devices. Latencies round up. The class has no 99th percentiles: the worker that stands in
    for a device takes exactly the table's time, however much the source's times scatter. It is labelled predicted and
    emulated; ``reason`` says where the factors come from.

    Raises :class:`BadInputError` if ``source_class`` is not in the profile, ``new_class`` is, or the factors
    do not fit.
    """
    factors = np.asarray(factor_per_block, dtype=np.float64)
    shares = profile.shares_of(source_class)
    if not shares:
        raise BadInputError(
            f"profile of {profile.model}: device class {source_class!r} has no latencies to derive from "
            f"(it has {', '.join(profile.device_classes)}). Name one of those."
        )
    if new_class in profile.device_classes:
        raise BadInputError(
            f"profile of {profile.model}: device class {new_class!r} exists already. Choose another name."
        )
    if factors.shape != (len(profile.blocks),) or not (np.isfinite(factors) & (factors > 0)).all():
        raise BadInputError(
            f"factor_per_block (={factors.tolist()}) must be {len(profile.blocks)} finite numbers above 0, "
            f"one a block. Correct the factors."
        )
    derived = {(new_class, share): _scaled(profile.table(source_class, share), factors) for share in shares}
    note = f"emulated: {source_class} times {factors.min():.2f}-{factors.max():.2f} by block"
    source = profile.provenance_of(source_class)
    whole_us = dict(profile.whole_us)
    if source_class in whole_us and (new_class, 1) in derived:
        whole_us[new_class] = int(derived[new_class, 1].latency_us[:, 0].sum())
    return replace(
        profile,
        tables={**profile.tables, **derived},
        whole_us=whole_us,
        class_provenance={
            **profile.class_provenance,
            new_class: Provenance(
                kind="predicted",
                device=f"{new_class}, emulated on {source.device}",
                software=source.software,
                date=source.date,
                seed=source.seed,
                note=f"{note}; {reason}" if reason else note,
            ),
        },
    )


def _scaled(table: LatencyTable, factors: F64) -> LatencyTable:
    # The tolerance keeps 100 us times 1.1 from becoming 111.
    scaled_us = np.ceil(table.latency_us * factors[:, None] - 1e-6)
    return LatencyTable(scaled_us.astype(np.int64), runs=table.runs)
