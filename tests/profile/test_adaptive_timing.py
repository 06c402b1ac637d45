"""Timing on a GPU, on a device that is made up: its times are a formula, so every figure can be worked out by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.profile.measuring._measure_worker import Reply, Step
from penstock.profile.measuring.adaptive import AdaptiveTiming, full_table, time_adaptively
from penstock.profile.measuring.copies import Copies, OpenCopies, OutOfDeviceMemoryError
from penstock.profile.measuring.partial import Column, PartialResults, holds
from penstock.profile.measuring.timing import Effort, Piece
from penstock.runtime.settings import RuntimeSettings

GPU = RuntimeSettings(kind="torch", device="cuda:0")
EFFORT = Effort(seconds=60.0, rounds=1)
DeviceUs = Callable[[str, int], float]


class _MadeUp:
    """Answers each step with two runs of ``device_us(piece, batch)``; through the host they take ``copies_us`` more."""

    def __init__(self, device_us: DeviceUs, copies_us: float, most: int) -> None:
        self._device_us, self._copies_us, self._most = device_us, copies_us, most

    def run(self, step: Step) -> list[Reply]:
        piece, batch = step.model.stem, int(step.inputs.stem)
        if batch > self._most:
            raise OutOfDeviceMemoryError("no more")
        took_us = self._device_us(piece, batch) + (self._copies_us if step.through_host else 0.0)
        took = np.full(2, round(took_us * 1000), np.int64)
        start = np.array([0, took[0]], np.int64)
        copied = (3 * batch, batch) if step.through_host else (0, 0)
        return [
            Reply(
                start, start + took, None, took, memory=(7, batch, 1), copied_bytes=copied, executor="by hand"
            )
        ]


def _open(device_us: DeviceUs, copies_us: float = 0.0, most: int = 10**6) -> OpenCopies:
    @contextmanager
    def opened(share: int, threads: int) -> Iterator[Copies]:
        yield _MadeUp(device_us, copies_us, most)  # type: ignore[misc]

    return opened


def _pieces(batches: tuple[int, ...]) -> list[Piece]:
    files = tuple(Path(f"{batch}.npz") for batch in batches)
    return [Piece(name, Path(f"{name}.onnx"), files) for name in ("a", "b", "whole")]


def _timed(device_us: DeviceUs, batches: tuple[int, ...], **device: float) -> AdaptiveTiming:
    opened = _open(device_us, **device)  # type: ignore[arg-type]
    return time_adaptively(_pieces(batches), batches, [1], settings=GPU, effort=EFFORT, open_copies=opened)[1]


def _linear(piece: str, batch: int) -> float:
    """Blocks of 30 and 70 us a sample and no fixed part: a larger batch gains nothing."""
    return {"a": 30.0, "b": 70.0, "whole": 100.0}[piece] * batch


def test_the_visit_ends_after_two_sizes_that_gain_nothing():
    timed = _timed(_linear, (1, 2, 4, 8, 16))
    assert timed.batches == (1, 2, 4)
    assert timed.ended == "time per sample stopped falling at batch 4"


def test_the_visit_goes_on_while_larger_batches_pay():
    def fixed(piece: str, batch: int) -> float:
        return {"a": 30.0, "b": 70.0, "whole": 100.0}[piece]

    timed = _timed(fixed, (1, 2, 4, 8, 16))
    assert timed.batches == (1, 2, 4, 8, 16)
    assert timed.ended == "batch 16 was the largest asked for"


def test_the_visit_ends_at_the_memory_and_keeps_what_it_has():
    timed = _timed(lambda piece, batch: 100.0, (1, 2, 4), most=2)
    assert timed.batches == (1, 2)
    assert timed.memory_bytes.tolist() == [[7, 2, 1]] * 3
    with pytest.raises(BadInputError, match="batch 1 does not fit"):
        _timed(_linear, (1, 2), most=0)


def test_a_worker_takes_the_copies_too():
    """Copies of 40 us, three bytes in for one out: 30 us on the first block, 10 us on the last; blocks 30 and 70 us."""
    table, factors = full_table(_timed(_linear, (1, 2), copies_us=40.0))
    assert factors.tolist() == [1.0, 1.0]
    assert table.device_us is not None
    assert table.device_us.tolist() == [[30, 60], [70, 140]]
    assert table.latency_us.tolist() == [[60, 90], [80, 150]]
    assert table.computing_us is table.device_us


def test_a_size_in_between_costs_what_the_next_measured_one_does():
    table, _ = full_table(_timed(lambda piece, batch: _linear(piece, batch) + 500, (1, 4)))
    assert table.max_batch == 4
    assert (table.latency_us[:, 1] == table.latency_us[:, 3]).all()
    assert (table.latency_us[:, 0] < table.latency_us[:, 1]).all()
    assert table.batches == (1, 4)
    assert table.is_padded


def test_a_second_run_goes_on_where_the_first_one_ended(tmp_path):
    """The first device has memory for batch 2 only; the second run measures batch 4 alone; the figures are whole."""
    question = {"model": "toy", "batches": [1, 2, 4]}
    pieces, batches = _pieces((1, 2, 4)), (1, 2, 4)

    def fixed(piece: str, batch: int) -> float:
        return {"a": 30.0, "b": 70.0, "whole": 100.0}[piece]

    def timed(opened: OpenCopies) -> AdaptiveTiming:
        keeper = PartialResults(tmp_path / "p.partial", question)
        return time_adaptively(
            pieces, batches, [1], settings=GPU, effort=EFFORT, open_copies=opened, keeper=keeper
        )[1]

    assert timed(_open(fixed, 8.0, most=2)).batches == (1, 2)
    assert PartialResults(tmp_path / "p.partial", question).count == 2

    def slower(piece: str, batch: int) -> float:
        assert batch == 4, "measured before"
        return 2 * fixed(piece, batch)

    gone_on = timed(_open(slower, 8.0))
    assert gone_on.batches == (1, 2, 4)
    assert gone_on.timing.median_us.tolist() == [[30, 30, 60], [70, 70, 140], [100, 100, 200]]
    assert gone_on.copies_us.tolist() == [[6, 6, 6], [2, 2, 2]]
    assert gone_on.memory_bytes.tolist() == [[7, 4, 1]] * 3

    def never(share: int, threads: int) -> Iterator[Copies]:
        raise AssertionError("nothing is left to measure")

    kept = timed(never)  # type: ignore[arg-type]
    assert (kept.batches, kept.executor) == ((1, 2, 4), "by hand")


def test_partial_results_of_another_question_are_refused(tmp_path):
    folder = tmp_path / "p.partial"
    PartialResults(folder, {"model": "toy", "seed": 0}).keep(
        1, 1, Column((np.ones(2, np.int64),), np.zeros((1, 3), np.int64), np.zeros(2))
    )
    with pytest.raises(BadInputError, match=r"another measurement \(seed 0, not 1\)"):
        PartialResults(folder, {"model": "toy", "seed": 1})
    assert holds(folder, {"model": "toy", "seed": 0})
    assert PartialResults(folder, {"model": "toy", "seed": 1}, force=True).count == 0
