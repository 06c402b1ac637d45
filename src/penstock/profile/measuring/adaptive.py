"""Timing on a GPU: batch after batch while larger ones pay, with a time limit, on n processes at once.

A batch size costs a capture for every piece, so the sizes are few (:func:`captured_batches`) and visited in
ascending order. The visit of a share ends when the whole model's time per sample has stopped falling, when the
device's memory ends, or when the time is up; what was measured is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.profile.measuring._measure_worker import Step
from penstock.profile.measuring.copies import Copies, OpenCopies, OutOfDeviceMemoryError, overlapping_ns
from penstock.profile.measuring.partial import Column, Keeper, NoKeeper
from penstock.profile.measuring.steady_clocks import LONGEST_S, SLICE_S, warm_until_steady
from penstock.profile.measuring.timing import (
    Effort,
    Piece,
    Progress,
    Timing,
    block_table,
    summarise_runs,
)
from penstock.profile.table import LatencyTable
from penstock.runtime.settings import RuntimeSettings

MOST_SECONDS = 0.15
"""Of timing a piece at a batch in a round: a GPU repeats itself so well that more tells nothing."""

LEAST_GAIN = 0.02
"""A batch size pays if it lowers the time per sample by this share; two in a row that do not end the visit."""


@dataclass(frozen=True)
class AdaptiveTiming:
    """One share: ``timing`` has a column for each of ``batches``; ``memory_bytes`` is (weights, activations,
    workspace) of every piece at its largest batch, int64, shape (pieces, 3), zeros if the device does not tell;
    ``ended`` says in words why no larger batch was measured. ``copies_us``: what the copies from and to the host's
    memory add to the whole model's device time, float64, shape (2, batches): into the device, and back.
    ``is_timed_out``: with more time, larger batches would be measured. ``is_steady``: the warm-up ended with steady
    times. ``executor``: what computed, in words."""

    batches: tuple[int, ...]
    timing: Timing
    memory_bytes: NDArray[np.int64]
    ended: str
    copies_us: NDArray[np.float64]
    is_timed_out: bool = False
    is_steady: bool = True
    executor: str = ""


_FORGETFUL = NoKeeper()


def time_adaptively(
    pieces: Sequence[Piece],
    batches: Sequence[int],
    shares: Sequence[int],
    *,
    settings: RuntimeSettings,
    effort: Effort,
    progress: Progress = lambda done, total, what: None,
    open_copies: OpenCopies = Copies,
    keeper: Keeper = _FORGETFUL,
) -> dict[int, AdaptiveTiming]:
    """An :class:`AdaptiveTiming` for each share; ``pieces[i].inputs[k]`` is the input at ``batches[k]``.

    ``open_copies(share, threads)`` gives the processes. What ``keeper`` finds is not measured again.
    Raises :class:`BadInputError` if not even the smallest batch fits the device's memory.
    """
    deadline = time.perf_counter() + effort.seconds
    timings = {}
    for position, share in enumerate(shares):
        seconds = (deadline - time.perf_counter()) / (len(shares) - position)
        own = replace(effort, seconds=max(seconds, 1e-3))
        visit = _Visit(pieces, batches, share, settings, own, open_copies, keeper)
        report = partial(_report, progress, position * len(batches), len(shares) * len(batches))
        timings[share] = visit.run(report)
    return timings


def _report(progress: Progress, before: int, total: int, done: int, what: str) -> None:
    progress(before + done, total, what)


class _Visit:
    """One share, from the smallest batch up."""

    def __init__(
        self,
        pieces: Sequence[Piece],
        batches: Sequence[int],
        share: int,
        settings: RuntimeSettings,
        effort: Effort,
        open_copies: OpenCopies,
        keeper: Keeper,
    ) -> None:
        self._pieces, self._batches, self._share = pieces, batches, share
        self._settings, self._effort, self._open_copies = settings, effort, open_copies
        self._keeper = keeper
        self._columns: list[Column] = []
        self._is_steady = True

    def run(self, progress: Callable[[int, str], None]) -> AdaptiveTiming:
        """Visit batches until one of the reasons to end; processes start only if something is left to measure."""
        self._find_kept(progress)
        ended, is_timed_out = self._stopped_gaining(), False
        if not ended and len(self._columns) < len(self._batches):
            ended, is_timed_out = self._measure_rest(progress)
        return AdaptiveTiming(
            tuple(self._batches[: len(self._columns)]),
            _summary(self._columns),
            np.maximum.reduce([column.memory_bytes for column in self._columns]),
            ended or f"batch {self._batches[-1]} was the largest asked for",
            np.stack([column.copies_us for column in self._columns], axis=1),
            is_timed_out,
            self._is_steady,
            self._columns[-1].executor,
        )

    def _find_kept(self, progress: Callable[[int, str], None]) -> None:
        for batch in self._batches:
            column = self._keeper.find(self._share, batch)
            if column is None:
                return
            self._columns.append(column)
            progress(len(self._columns), f"batch {batch}, share {self._share}: kept from before")
            if self._stopped_gaining():
                return

    def _measure_rest(self, progress: Callable[[int, str], None]) -> tuple[str, bool]:
        """Why the visit ended, if before the largest batch, and whether for lack of time."""
        with self._open_copies(self._share, self._settings.threads) as copies:
            began = None
            while (done := len(self._columns)) < len(self._batches):
                batch = self._batches[done]
                try:
                    if began is None:
                        # The first run starts CUDA in every process: seconds that are not time to measure in.
                        copies.run(self._step(0, done, 0.0))
                        began = time.perf_counter()
                        self._warm_up(copies, done)
                    left = self._effort.seconds - (time.perf_counter() - began)
                    if done and left <= 0:
                        return f"the time was up after batch {self._batches[done - 1]}", True
                    column = self._measure(copies, done, max(left, 0.0) / (len(self._batches) - done))
                except OutOfDeviceMemoryError as error:
                    if not done:
                        raise BadInputError(
                            f"share {self._share}: batch {batch} does not fit the device's memory ({error}). "
                            f"Ask for smaller --shares, or use more blocks on more devices."
                        ) from None
                    return f"batch {batch} does not fit the device's memory", False
                self._keeper.keep(self._share, batch, column)
                self._columns.append(column)
                progress(done + 1, f"batch {batch}, share {self._share}")
                if ended := self._stopped_gaining():
                    return ended, False
        return "", False

    def _warm_up(self, copies: Copies, index: int) -> None:
        """Run the whole model at batch ``index`` until the clocks are up, a tenth of the visit's time at most."""
        whole = replace(self._step(len(self._pieces) - 1, index, 0.0), seconds=SLICE_S)
        most = int(min(LONGEST_S, self._effort.seconds / 10) / SLICE_S)
        if most >= 3:
            self._is_steady = warm_until_steady(
                lambda: float(np.median(overlapping_ns(copies.run(whole)))) / 1e3, most
            )

    def _stopped_gaining(self) -> str:
        whole_us = [float(np.median(column.runs_ns[-1])) / 1e3 for column in self._columns]
        per_sample = [us / batch for us, batch in zip(whole_us, self._batches, strict=False)]
        if not _has_stopped_gaining(per_sample):
            return ""
        return f"time per sample stopped falling at batch {self._batches[len(self._columns) - 1]}"

    def _measure(self, copies: Copies, index: int, seconds: float) -> Column:
        """All pieces at batch ``index``, and the whole model once more, through the host's memory.

        What that takes beyond the device's own time is divided by the bytes that go in and come out.
        """
        last = len(self._pieces) - 1
        rounds: list[list[NDArray[np.int64]]] = [[] for _ in self._pieces]
        memory = np.zeros((len(self._pieces), 3), np.int64)
        for _ in range(self._effort.rounds):
            for piece, runs in enumerate(rounds):
                replies = copies.run(self._step(piece, index, seconds))
                runs.append(overlapping_ns(replies))
                for reply in replies:
                    if reply.memory is not None:
                        memory[piece] = np.maximum(memory[piece], reply.memory)
        runs_ns = tuple(np.concatenate(runs) for runs in rounds)
        replies = copies.run(replace(self._step(last, index, seconds), through_host=True))
        copied_ns = float(np.median(overlapping_ns(replies)) - np.median(runs_ns[last]))
        in_and_out = np.array(replies[0].copied_bytes, float)
        copies_us = max(copied_ns, 0.0) / 1e3 * in_and_out / max(in_and_out.sum(), 1.0)
        return Column(runs_ns, memory, copies_us, replies[0].executor)

    def _step(self, piece: int, index: int, seconds: float) -> Step:
        """A piece at batch ``index``, in ``seconds`` for all pieces and rounds."""
        one, effort = self._pieces[piece], self._effort
        each = min(seconds / (effort.rounds * len(self._pieces)), MOST_SECONDS)
        inputs = one.inputs[index]
        return Step(one.model, inputs, each, effort.warm_up_runs, effort.min_runs, self._settings)


def _summary(columns: Sequence[Column]) -> Timing:
    runs = {
        (piece, index): [one]
        for index, column in enumerate(columns)
        for piece, one in enumerate(column.runs_ns)
    }
    return summarise_runs(runs, (len(columns[0].runs_ns), len(columns)))


def _has_stopped_gaining(per_sample: Sequence[float]) -> bool:
    """Whether the last two batch sizes both gained less than :data:`LEAST_GAIN` over the best before them."""
    if len(per_sample) < 3:
        return False
    best = min(per_sample[:-2])
    return min(per_sample[-2:]) > best * (1 - LEAST_GAIN)


def full_table(measured: AdaptiveTiming) -> tuple[LatencyTable, NDArray[np.float64]]:
    """The table of all batches up to the largest: a size between two measured ones costs what the larger does.

    A CUDA graph runs so (the batch is padded); run otherwise it is an upper bound. The table marks which were measured.
    ``latency_us`` is what a worker
    takes: the first block's includes the copy of the model's inputs to the device, the last one's that of its outputs.
    ``device_us`` is without them. Factors as :func:`block_table` gives them, by measured batch.
    """
    table, factors = block_table(measured.timing)
    sizes = np.array(measured.batches)
    column = np.searchsorted(sizes, np.arange(1, sizes[-1] + 1))
    device_us = np.maximum.accumulate(table.latency_us, axis=1)
    copies_us = np.zeros_like(device_us)
    copies_us[0] += np.rint(measured.copies_us[0]).astype(np.int64)
    copies_us[-1] += np.rint(measured.copies_us[1]).astype(np.int64)
    latency_us = np.maximum.accumulate(device_us + copies_us, axis=1)[:, column]
    p99_us = None
    if table.p99_us is not None:
        p99_us = np.maximum((table.p99_us + copies_us)[:, column], latency_us)
    measured_only = tuple(measured.batches)
    given = None if len(measured_only) == measured_only[-1] else measured_only
    return LatencyTable(latency_us, p99_us, table.runs, device_us[:, column], given, is_padded=True), factors
