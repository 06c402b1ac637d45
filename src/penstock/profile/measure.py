"""Measure a model block by block on this machine's CPU, with onnxruntime: the tables of one device class.

Medians and 99th percentiles over the runs of all copies, on a steady clock, after warm-up; the whole model
is measured beside its blocks, and the blocks are scaled to it (:func:`penstock.profile.timing.block_table`).
"""

from __future__ import annotations

import platform
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from penstock.errors import BadInputError
from penstock.graph.onnx_reader import OnnxModel
from penstock.profile.pieces import prepare_pieces
from penstock.profile.session import import_onnxruntime
from penstock.profile.table import LatencyTable, Provenance
from penstock.profile.timing import DEFAULT_EFFORT, Effort, Progress, block_table, time_pieces


@dataclass(frozen=True)
class Measurement:
    """Tables by share, the whole model's batch-1 latency on a whole device if measured, and the origin."""

    tables: Mapping[int, LatencyTable]
    whole_us: int | None
    provenance: Provenance


def measure(
    model: OnnxModel,
    boundaries: Sequence[int],
    *,
    max_batch: int = 4,
    shares: Sequence[int] = (1,),
    threads: int = 1,
    effort: Effort = DEFAULT_EFFORT,
    seed: int = 0,
    progress: Progress = lambda done, total, what: None,
) -> Measurement:
    """Time blocks ``[boundaries[k], boundaries[k + 1])`` at batches 1 to ``max_batch`` on each of ``shares``.

    Share n runs n processes at once, ``threads`` threads each. Raises :class:`MissingExtraError` without
    onnxruntime, :class:`BadInputError` for settings out of range or a model that cannot run at a batch.
    """
    runtime = import_onnxruntime()
    _check(max_batch, shares, threads)
    with tempfile.TemporaryDirectory(prefix="penstock-profile-") as folder:
        pieces = prepare_pieces(model, boundaries, max_batch, Path(folder), seed)
        timings = time_pieces(pieces, shares, threads=threads, effort=effort, progress=progress)
    tables, factors = {}, []
    for share, timing in timings.items():
        tables[share], by_batch = block_table(timing)
        factors += by_batch.tolist()
    note = (
        f"{threads} thread(s) a worker; blocks times {min(factors):.3f}-{max(factors):.3f} "
        f"so that they sum to the whole model"
    )
    return Measurement(
        tables=tables,
        whole_us=max(1, round(float(timings[1].median_us[-1, 0]))) if 1 in timings else None,
        provenance=Provenance(
            kind="measured",
            device=device_name(),
            software=f"onnxruntime {runtime.__version__}, Python {platform.python_version()}",
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            seed=seed,
            note=note,
        ),
    )


def _check(max_batch: int, shares: Sequence[int], threads: int) -> None:
    if max_batch < 1 or threads < 1:
        raise BadInputError(f"max_batch (={max_batch}) and threads (={threads}) must be >= 1. Raise them.")
    if not shares or min(shares) < 1 or len(set(shares)) != len(shares):
        raise BadInputError(f"shares (={list(shares)}) must be different whole numbers >= 1, such as 1,2.")


def device_name() -> str:
    """The processor's name, as far as the system tells."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():  # platform.processor() is empty on most Linux systems
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
