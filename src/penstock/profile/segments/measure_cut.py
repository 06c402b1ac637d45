"""What a cut costs: the model whole and in segments, run in turn in this process, compared by CPU time.

CPU time, not wall time, because it is nearly the same on a busy machine and an idle one. Runs come in pairs, whole
then cut, next cut then whole, and the cost is the median of the pairs' ratios: if something slows both runs of a pair,
it cancels. On two cores with a load of 13 this repeats within half a percent, but the ratio of two medians varies by
3%, and the rule allows no more than 3%. The segments are the sessions that serve (:mod:`.segmented`), and their output
must be the whole model's.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Protocol, Self, final

import numpy as np

from penstock.errors import PenstockError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.profile.cutting import MOST_COST, Cut, choose_cut, wanted_segments
from penstock.profile.measuring.inputs import model_inputs
from penstock.profile.measuring.measure import Measurement
from penstock.profile.segments.segmented import Tensors, split_model

FEWEST_PAIRS = 15
MOST_PAIRS = 200
RELATIVE, OF_LARGEST = 1e-3, 1e-4
"""How far outputs may differ, of the value and of the largest value: runtimes fuse operators, but not over a cut."""


class InSegments(Protocol):
    """A model in segments, ready to run."""

    @property
    def n_segments(self) -> int:
        """How many there are."""
        ...

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """What crosses the end of ``segment``, from what crosses its start."""
        ...


SplitModel = Callable[[OnnxModel, Sequence[int], Path], InSegments]
"""Cut a model at boundaries (operators, from 0 to all), with files in a folder."""


@final
class CutMeter:
    """Measures cuts of ``model`` whose blocks begin at ``boundaries`` (operators, from 0 to all).

    ``seconds``: a goal for each cut. ``split``: what runs segments (onnxruntime with ``threads`` threads unless given),
    timed by ``clock_ns``; for a device of its own, which uses no CPU time, that is a clock of the wall. A context
    manager: the segments' files are removed at its end.
    """

    def __init__(
        self,
        model: OnnxModel,
        boundaries: Sequence[int],
        *,
        seconds: float = 10.0,
        threads: int = 1,
        seed: int = 0,
        split: SplitModel | None = None,
        clock_ns: Callable[[], int] = time.process_time_ns,
    ) -> None:
        self._model = model
        self._split = split or (lambda model, at, folder: split_model(model, at, folder, threads))
        self._clock_ns = clock_ns
        self._starts = tuple(boundaries)
        self._seconds = seconds
        self._seed = seed

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="penstock-cut-")
        self._whole = self._split(self._model, (self._starts[0], self._starts[-1]), Path(self._folder.name))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def __call__(self, boundaries: Sequence[int]) -> tuple[float, float]:
        """(whole, cut) in us of the meter's clock, for a cut at ``boundaries`` in blocks.

        Raises :class:`PenstockError` if the segments' output is not the whole model's.
        """
        folder = Path(self._folder.name)
        cut = self._split(self._model, [self._starts[block] for block in boundaries], folder)
        inputs = self._inputs()
        check_same(run_all(cut, inputs), run_all(self._whole, inputs), f"cut at blocks {list(boundaries)}")
        pairs: list[tuple[float, float]] = []
        until = time.monotonic() + self._seconds
        while len(pairs) < FEWEST_PAIRS or (time.monotonic() < until and len(pairs) < MOST_PAIRS):
            if len(pairs) % 2:
                cut_us = self._time_us(cut, inputs)
                pairs.append((self._time_us(self._whole, inputs), cut_us))
            else:
                pairs.append((self._time_us(self._whole, inputs), self._time_us(cut, inputs)))
        return compared(pairs)

    def _time_us(self, model: InSegments, inputs: Tensors) -> float:
        start_ns = self._clock_ns()
        run_all(model, inputs)
        return (self._clock_ns() - start_ns) / 1e3

    def _inputs(self) -> Tensors:
        return model_inputs(self._model.graph, 1, self._seed)


def compared(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """(whole, cut) of pairs of runs: the median of the whole's, and that times the median of the pairs' ratios."""
    whole_us = median(whole for whole, _ in pairs)
    return whole_us, whole_us * median(cut / whole for whole, cut in pairs)


def run_all(model: InSegments, tensors: Tensors) -> Tensors:
    """The outputs of the whole chain."""
    for segment in range(model.n_segments):
        tensors = model.run(segment, tensors)
    return tensors


def check_same(made: Tensors, wanted: Tensors, what: str) -> None:
    """Raise :class:`PenstockError` unless ``made`` has the tensors of ``wanted``, up to rounding."""
    if made.keys() != wanted.keys():
        raise PenstockError(f"{what}: gives {sorted(made)}, but the whole model gives {sorted(wanted)}.")
    for name, array in wanted.items():
        if array.dtype.kind != "f":
            is_same = np.array_equal(made[name], array)
        else:
            largest = float(np.max(np.abs(array), initial=0.0))
            is_same = made[name].shape == array.shape and np.allclose(
                made[name], array, rtol=RELATIVE, atol=OF_LARGEST * largest, equal_nan=True
            )
        if not is_same:
            raise PenstockError(
                f"{what}: output {name!r} differs from the whole model's by more than rounding. The model cannot be "
                f"cut there: profile it without --beside, and report the model."
            )


def cut_beside(
    measured: Measurement, shortest_us: float, meter: Callable[[tuple[int, ...]], tuple[float, float]]
) -> tuple[Cut | None, tuple[Cut, ...]]:
    """The cut to keep for a model measured on a whole device, beside one of ``shortest_us``; and all that were tried.

    None if the model is not worth cutting or every cut costs too much. ``measured`` must hold share 1.
    """
    assert measured.whole_us is not None, "share 1 was measured"
    if measured.whole_us <= shortest_us:
        return None, ()
    wanted = wanted_segments(measured.whole_us, shortest_us)
    return choose_cut([float(us) for us in measured.tables[1].latency_us[:, 0]], wanted, meter)


def cut_note(kept: Cut | None, tried: Sequence[Cut]) -> str:
    """What was measured and kept, in one line."""
    if not tried:
        return (
            "Not cut: it is not 1.5 times as long as the shortest model beside it, or it has one block only."
        )
    costs = ", ".join(f"{len(cut.boundaries) - 1} segments cost {cut.cost:+.1%} of its time" for cut in tried)
    if kept is None:
        return f"Not cut: {costs}; at most {MOST_COST:.0%} is allowed."
    return f"Cut at blocks {list(kept.boundaries)}: {costs}."
