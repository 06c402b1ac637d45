"""The two models of the live rows, as ``penstock profile --beside`` would leave them: blocks, a cut, sessions."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock import zoo
from penstock.errors import InfeasibleError
from penstock.graph.cuts import boundary_bytes
from penstock.graph.reading.onnx_reader import OnnxModel, read_onnx
from penstock.partition.prepartition import prepartition
from penstock.profile.cutting import choose_cut, wanted_segments
from penstock.profile.prediction.device_catalogue import CPU_CORE
from penstock.profile.prediction.predict import predict_operators
from penstock.profile.segments.measure_cut import CutMeter, cut_note, run_all
from penstock.profile.segments.segmented import SegmentedModel, Tensors, split_model

NAMES = ("resnet18", "inception_v3")
MOST_BLOCKS = 10
RUNS = 9


@dataclass(frozen=True)
class LiveModel:
    """A model on disk, where the rule cuts it (operators, from 0 to all), and the CPU time of each segment.

    ``cut_cost``: CPU time cut over whole, less one, of runs in turn. Plain values, so that a process can be given it.
    """

    name: str
    path: Path
    boundaries: tuple[int, ...]
    whole_us: float
    segment_us: tuple[float, ...]
    cut_cost: float = 0.0

    def open(self, folder: Path, *, cut: bool) -> tuple[SegmentedModel, Tensors]:
        """Sessions of the model, cut or whole, run once, and an input; files go into ``folder``."""
        model = read_onnx(self.path)
        runner = split_model(model, self.boundaries if cut else (0, self.boundaries[-1]), folder)
        inputs = _inputs(model)
        run_all(runner, inputs)
        return runner, inputs


def prepare_models(folder: Path, image_size: int | None, seconds: float) -> tuple[LiveModel, LiveModel]:
    """The short model whole and the long one cut by the rule; says what the cut costs."""
    short, long = (_read(name, folder, image_size) for name in NAMES)
    whole = [
        split_model(model, (0, len(model.graph.operators)), _sub(folder, model)) for model in (short, long)
    ]
    inputs = [_inputs(model) for model in (short, long)]
    (short_us,), (long_us,) = (segment_times(*pair) for pair in zip(whole, inputs, strict=True))
    boundaries = _blocks(long)
    blocks_us = segment_times(split_model(long, boundaries, _sub(folder, long)), inputs[1])
    with CutMeter(long, boundaries, seconds=seconds) as meter:
        kept, tried = choose_cut(blocks_us, wanted_segments(long_us, short_us), meter)
    print(f"  {NAMES[1]}: {cut_note(kept, tried)}")
    starts = (0, len(boundaries) - 1) if kept is None else kept.boundaries
    cut = split_model(long, [boundaries[block] for block in starts], _sub(folder, long))
    return (
        LiveModel(NAMES[0], short.path, (0, len(short.graph.operators)), short_us, (short_us,)),
        LiveModel(
            NAMES[1],
            long.path,
            tuple(boundaries[block] for block in starts),
            long_us,
            segment_times(cut, inputs[1]),
            0.0 if kept is None else kept.cost,
        ),
    )


def segment_times(model: SegmentedModel, inputs: Tensors) -> tuple[float, ...]:
    """Medians of the CPU time of each segment in us, over :data:`RUNS` runs after two more."""
    times: list[list[float]] = [[] for _ in range(model.n_segments)]
    for turn in range(RUNS + 2):
        tensors = inputs
        for segment in range(model.n_segments):
            begin_ns = time.process_time_ns()
            tensors = model.run(segment, tensors)
            if turn >= 2:
                times[segment].append((time.process_time_ns() - begin_ns) / 1e3)
    return tuple(statistics.median(of_segment) for of_segment in times)


def _read(name: str, folder: Path, image_size: int | None) -> OnnxModel:
    path = folder / f"{name}.onnx"
    path.write_bytes(zoo.build(name, image_size=image_size).SerializeToString())
    return read_onnx(path)


def _inputs(model: OnnxModel) -> Tensors:
    shape = (1, *model.graph.tensors["input"].shape[1:])
    return {"input": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}


def _blocks(model: OnnxModel) -> tuple[int, ...]:
    """As many blocks as go, up to ten, as ``penstock profile`` chooses them."""
    latency_us = {CPU_CORE.name: predict_operators(model.graph, CPU_CORE)}
    for count in range(MOST_BLOCKS, 1, -1):
        try:
            return tuple(prepartition(latency_us, boundary_bytes(model.graph), count).solution)
        except InfeasibleError:
            continue
    return (0, len(model.graph.operators))


def _sub(folder: Path, model: OnnxModel) -> Path:
    made = folder / model.path.stem
    made.mkdir(exist_ok=True)
    return made
