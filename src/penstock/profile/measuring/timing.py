"""From raw runs to a table: every piece at every batch on n copies at once, then medians and percentiles.

A piece is a block, or the whole model, which comes last. Rounds go over all pieces and batches in turn,
so that what else the machine does falls on all of them alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.arrays import F64, I64
from penstock.errors import BadInputError
from penstock.profile.measuring._measure_worker import CPU_SETTINGS, Step
from penstock.profile.measuring.copies import Copies, OpenCopies, overlapping_ns
from penstock.profile.measuring.partial import Column, Keeper, NoKeeper
from penstock.profile.table import LatencyTable
from penstock.runtime.settings import RuntimeSettings

ROUNDS = 3
Progress = Callable[[int, int, str], None]
"""Called after each step with steps done, steps in all, and what was run."""


@dataclass(frozen=True)
class Piece:
    """A part of the model on disk: its ONNX file, and its inputs at batch 1, 2, ... (.npz)."""

    name: str
    model: Path
    inputs: Sequence[Path]


@dataclass(frozen=True)
class Effort:
    """How long to measure. ``seconds`` is for all shares, batches, pieces and rounds together.

    It is a goal: slow pieces take longer, since each copy times ``min_runs`` runs in each round whatever is
    left, after ``warm_up_runs`` untimed ones that bring the piece's weights and inputs near again.
    """

    seconds: float = 60.0
    warm_up_runs: int = 1
    min_runs: int = 3
    rounds: int = ROUNDS

    def __post_init__(self) -> None:
        if not self.seconds > 0 or self.warm_up_runs < 0 or self.min_runs < 2 or self.rounds < 1:
            raise BadInputError(
                f"effort (={self}) must have seconds > 0, warm_up_runs >= 0, min_runs >= 2 and "
                f"rounds >= 1. Correct it."
            )


DEFAULT_EFFORT = Effort()


@dataclass(frozen=True)
class Timing:
    """Medians, 99th percentiles (float64, microseconds) and run counts, shape (pieces, batches)."""

    median_us: F64
    p99_us: F64
    runs: I64


_FORGETFUL = NoKeeper()


def time_pieces(
    pieces: Sequence[Piece],
    shares: Sequence[int],
    *,
    threads: int = 1,
    settings: RuntimeSettings = CPU_SETTINGS,
    effort: Effort = DEFAULT_EFFORT,
    progress: Progress = lambda done, total, what: None,
    open_copies: OpenCopies = Copies,
    keeper: Keeper = _FORGETFUL,
) -> dict[int, Timing]:
    """A :class:`Timing` for each share: that many copies of a piece at once, durations pooled.

    A share of which ``keeper`` finds every batch is not measured again.
    """
    batches = len(pieces[0].inputs)
    per_share = effort.rounds * len(pieces) * batches
    total = per_share * len(shares)
    deadline = time.perf_counter() + effort.seconds
    timings = {}
    for position, share in enumerate(shares):
        runs: dict[tuple[int, int], list[I64]] = {}
        kept = [keeper.find(share, batch + 1) for batch in range(batches)]
        if all(column is not None for column in kept):
            for batch, column in enumerate(kept):
                assert column is not None
                runs |= {(piece, batch): [one] for piece, one in enumerate(column.runs_ns)}
            timings[share] = summarise_runs(runs, (len(pieces), batches))
            progress((position + 1) * per_share, total, f"share {share}: kept from before")
            continue
        with open_copies(share, threads) as copies:
            for number in range(per_share):
                batch, piece = divmod(number % (len(pieces) * batches), len(pieces))
                part = pieces[piece]
                done = position * per_share + number
                seconds = max(deadline - time.perf_counter(), 0.0) / (total - done)
                step = Step(
                    part.model,
                    part.inputs[batch],
                    seconds,
                    effort.warm_up_runs,
                    effort.min_runs,
                    settings,
                )
                runs.setdefault((piece, batch), []).append(overlapping_ns(copies.run(step)))
                progress(done + 1, total, f"{part.name}, batch {batch + 1}, share {share}")
        for batch in range(batches):
            taken = tuple(np.concatenate(runs[piece, batch]) for piece in range(len(pieces)))
            keeper.keep(share, batch + 1, Column(taken, np.zeros((len(pieces), 3), np.int64), np.zeros(2)))
        timings[share] = summarise_runs(runs, (len(pieces), batches))
    return timings


def summarise_runs(runs: dict[tuple[int, int], list[I64]], shape: tuple[int, int]) -> Timing:
    """Medians and percentiles of ``runs``: nanoseconds of each round, by (piece, column of batches)."""
    timing = Timing(np.zeros(shape), np.zeros(shape), np.zeros(shape, np.int64))
    for place, rounds in runs.items():
        pooled_us = np.concatenate(rounds) / 1e3
        timing.median_us[place] = np.median(pooled_us)
        # "higher": with few runs the percentile is the worst seen, never an interpolation below it.
        timing.p99_us[place] = np.quantile(pooled_us, 0.99, method="higher")
        timing.runs[place] = pooled_us.size
    return timing


def block_table(timing: Timing) -> tuple[LatencyTable, F64]:
    """The table of the blocks (all pieces but the last), scaled to sum to the whole model (the last piece).

    The sum of separate blocks differs from the whole: the runtime optimises across blocks, which makes the
    whole faster, and a block run alone finds its weights in cache, which makes the whole slower. Returns the
    factor of each batch too, float64, shape (batches,). Column sums equal the whole's median to 1 us a block.
    """
    blocks_us, whole_us = timing.median_us[:-1], timing.median_us[-1]
    factors: F64 = whole_us / blocks_us.sum(axis=0)
    # Rounding the running sum keeps every span of blocks within 1 us, where rounding each could add up.
    ends_us = np.rint(np.cumsum(blocks_us * factors, axis=0)).astype(np.int64)
    latency_us = np.diff(ends_us, axis=0, prepend=0)
    p99_us = np.maximum(np.rint(timing.p99_us[:-1] * factors).astype(np.int64), latency_us)
    return LatencyTable(latency_us, p99_us, int(timing.runs[:-1].min())), factors
