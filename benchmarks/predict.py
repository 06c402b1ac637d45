"""How far roofline predictions are from measurements: default, and calibrated on one class for another.

    python benchmarks/predict.py [ARTIFACT]

ARTIFACT defaults to ``../shared/data/ppipe-artifact``: block timings with TensorRT (TF32) of P4, T4, V100 and L4. The
artifact has no model files, so four of its models are sketched here from their papers, operator by operator; every
shape that a sketch gives is compared with the artifact's, and a difference ends the run.

Prints the median over blocks and batches of abs(log(predicted / measured)): 0.10 is some 10% off. Three predictions
of each class: with the default efficiencies; calibrated on another class with the same models; calibrated on another
class *without* the model that is predicted.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from penstock.files import read_json
from penstock.graph.model_graph import ModelGraph, Operator, Tensor
from penstock.ppipe.profiles import read_profiles
from penstock.profile.prediction.calibrate import Measured, calibrate
from penstock.profile.prediction.device_catalogue import device_spec
from penstock.profile.prediction.efficiency import DEFAULT_TABLE, EfficiencyTable
from penstock.profile.prediction.predict import predict
from penstock.profile.table import Profile

CLASSES = ("P4", "T4", "V100", "L4")
Shape = tuple[int, ...]


class Sketch:
    """A graph from shapes alone: what a roofline needs, without a weight."""

    def __init__(self, name: str, channels: int, side: int) -> None:
        self.name, self.input = name, "input"
        self.shapes: dict[str, Shape] = {self.input: (channels, side, side)}
        self.operators: list[Operator] = []

    def _add(
        self, kind: str, inputs: tuple[str, ...], shape: Shape, flops: int, weights: int, groups: int = 1
    ) -> str:
        made = f"{kind}{len(self.operators)}"
        self.shapes[made] = shape
        self.operators.append(Operator(made, kind, inputs, (made,), flops, 4 * weights, groups=groups))
        return made

    def conv(
        self, x: str, width: int, kernel: tuple[int, int], stride: int = 1, pad: int = -1, groups: int = 1
    ) -> str:
        """``pad`` -1 keeps the map's size (at stride 1)."""
        channels, *sides = self.shapes[x]
        made = [
            (side + 2 * ((k - 1) // 2 if pad < 0 else pad) - k) // stride + 1
            for side, k in zip(sides, kernel, strict=True)
        ]
        each = channels // groups * math.prod(kernel)
        return self._add(
            "Conv", (x,), (width, *made), 2 * width * math.prod(made) * each, width * each, groups
        )

    def relu(self, x: str) -> str:
        """Its output's name, as of all these."""
        return self._add("Relu", (x,), self.shapes[x], math.prod(self.shapes[x]), 0)

    def conv_relu(
        self, x: str, width: int, kernel: tuple[int, int], stride: int = 1, pad: int = -1, groups: int = 1
    ) -> str:
        """A convolution and a ReLU."""
        return self.relu(self.conv(x, width, kernel, stride, pad, groups))

    def pool(self, kind: str, x: str, kernel: int, stride: int, pad: int) -> str:
        """MaxPool or AveragePool of square windows."""
        channels, *sides = self.shapes[x]
        shape = (channels, *((side + 2 * pad - kernel) // stride + 1 for side in sides))
        return self._add(kind, (x,), shape, math.prod(shape) * kernel**2, 0)

    def add(self, left: str, right: str) -> str:
        """Elementwise sum."""
        return self._add("Add", (left, right), self.shapes[left], math.prod(self.shapes[left]), 0)

    def concat(self, *parts: str) -> str:
        """Along the channels."""
        return self._add(
            "Concat", parts, (sum(self.shapes[p][0] for p in parts), *self.shapes[parts[0]][1:]), 0, 0
        )

    def graph(self) -> ModelGraph:
        """What was sketched so far."""
        tensors = {
            name: Tensor(name, "float32", (-1, *shape), True, 4 * math.prod(shape))
            for name, shape in self.shapes.items()
        }
        return ModelGraph(
            self.name, tuple(self.operators), tensors, (self.input,), (self.operators[-1].name,)
        )


def repvgg_b3() -> Sketch:
    """Ding et al., "RepVGG" (CVPR 2021), table 2: B3 is depths 1, 4, 6, 16, 1 and widths 3, 3, 3, 5 times."""
    s = Sketch("repvgg-b3", 3, 448)
    x = s.input
    for depth, width in ((1, 64), (4, 192), (6, 384), (16, 768), (1, 2560)):
        for index in range(depth):
            x = s.conv_relu(x, width, (3, 3), 2 if index == 0 else 1, 1)
    return s


def bottlenecks(
    name: str, side: int, depths: tuple[int, ...], widths: tuple[int, ...], groups: int
) -> Sketch:
    """He et al. (arXiv:1512.03385) with wider or grouped 3x3 convolutions (arXiv:1605.07146, arXiv:1611.05431)."""
    s = Sketch(name, 3, side)
    x = s.pool("MaxPool", s.conv_relu(s.input, 64, (7, 7), 2, 3), 3, 2, 1)
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        for index in range(depth):
            stride = 2 if index == 0 and stage > 0 else 1
            y = s.conv_relu(x, width, (1, 1))
            y = s.conv_relu(y, width, (3, 3), stride, 1, groups)
            y = s.conv(y, 256 << stage, (1, 1))
            x = s.conv(x, 256 << stage, (1, 1), stride, 0) if index == 0 else x
            x = s.relu(s.add(y, x))
    return s


def inception_v3() -> Sketch:
    """Szegedy et al., "Rethinking the Inception Architecture" (arXiv:1512.00567), as torchvision has it."""
    s = Sketch("googlenet-v3-pytorch", 3, 598)
    x = s.conv_relu(s.input, 32, (3, 3), 2, 0)
    x = s.conv_relu(x, 32, (3, 3), 1, 0)
    x = s.pool("MaxPool", s.conv_relu(x, 64, (3, 3)), 3, 2, 0)
    x = s.conv_relu(s.conv_relu(x, 80, (1, 1)), 192, (3, 3), 1, 0)
    x = s.pool("MaxPool", x, 3, 2, 0)
    for pooled in (32, 64, 64):
        a = s.conv_relu(x, 64, (1, 1))
        b = s.conv_relu(s.conv_relu(x, 48, (1, 1)), 64, (5, 5))
        c = s.conv_relu(s.conv_relu(s.conv_relu(x, 64, (1, 1)), 96, (3, 3)), 96, (3, 3))
        x = s.concat(a, b, c, s.conv_relu(s.pool("AveragePool", x, 3, 1, 1), pooled, (1, 1)))
    a = s.conv_relu(x, 384, (3, 3), 2, 0)
    b = s.conv_relu(s.conv_relu(s.conv_relu(x, 64, (1, 1)), 96, (3, 3)), 96, (3, 3), 2, 0)
    x = s.concat(a, b, s.pool("MaxPool", x, 3, 2, 0))
    for width in (128, 160, 160, 192):
        a = s.conv_relu(x, 192, (1, 1))
        b = s.conv_relu(s.conv_relu(s.conv_relu(x, width, (1, 1)), width, (1, 7)), 192, (7, 1))
        c = s.conv_relu(s.conv_relu(s.conv_relu(x, width, (1, 1)), width, (7, 1)), width, (1, 7))
        c = s.conv_relu(s.conv_relu(c, width, (7, 1)), 192, (1, 7))
        x = s.concat(a, b, c, s.conv_relu(s.pool("AveragePool", x, 3, 1, 1), 192, (1, 1)))
    a = s.conv_relu(s.conv_relu(x, 192, (1, 1)), 320, (3, 3), 2, 0)
    b = s.conv_relu(s.conv_relu(s.conv_relu(x, 192, (1, 1)), 192, (1, 7)), 192, (7, 1))
    b = s.conv_relu(b, 192, (3, 3), 2, 0)
    x = s.concat(a, b, s.pool("MaxPool", x, 3, 2, 0))
    for _ in range(2):
        a = s.conv_relu(x, 320, (1, 1))
        b = s.conv_relu(x, 384, (1, 1))
        b, d = s.conv_relu(b, 384, (1, 3)), s.conv_relu(b, 384, (3, 1))
        c = s.conv_relu(s.conv_relu(x, 448, (1, 1)), 384, (3, 3))
        c, e = s.conv_relu(c, 384, (1, 3)), s.conv_relu(c, 384, (3, 1))
        x = s.concat(a, b, d, c, e, s.conv_relu(s.pool("AveragePool", x, 3, 1, 1), 192, (1, 1)))
    return s


MODELS: dict[str, Callable[[], Sketch]] = {
    "repvgg-b3": repvgg_b3,
    "wide_resnet101_2": lambda: bottlenecks("wide_resnet101_2", 518, (3, 4, 23, 3), (128, 256, 512, 1024), 1),
    "resnext152-32x4d_8xb32_in1k": lambda: bottlenecks(
        "resnext152-32x4d_8xb32_in1k", 224, (3, 8, 36, 3), (128, 256, 512, 1024), 32
    ),
    "googlenet-v3-pytorch": inception_v3,
}


def checked(folder: Path, name: str, profile: Profile) -> tuple[ModelGraph, list[int], int]:
    """The sketch, the boundaries of the artifact's blocks in it, and how many blocks it covers whole.

    Ends the run where a shape of an operator differs from the artifact's.
    """
    sketch = MODELS[name]()
    cuts = read_json(folder / "models/cuts-no-const" / f"{name}.json")
    shapes = read_json(folder / "models/shapes" / f"{name}.json")
    for place, operator in enumerate(sketch.operators):
        before, after = (set(cuts[k]["cut"]) for k in (place, place + 1))
        (made,) = after - before
        found = tuple(shapes[made]["shape"][1:])
        if found != sketch.shapes[operator.name]:
            sys.exit(
                f"{name}: operator {place} ({operator.name}) gives {sketch.shapes[operator.name]}, not {found}."
            )
    ends = np.cumsum([len(block.operators) for block in profile.blocks])
    covered = int(np.searchsorted(ends, len(sketch.operators), side="right"))
    return sketch.graph(), [0, *(int(end) for end in ends[:covered])], covered


def error(one: Measured, table: EfficiencyTable) -> np.ndarray:
    """Log ratios of all blocks and batches."""
    made = predict(one.graph, one.boundaries, [one.spec], one.table.max_batch, [one.share], table)
    return np.log(made[one.spec.name, one.share].latency_us / one.table.latency_us).ravel()


def main() -> int:
    default = Path(__file__).parents[1] / ".." / "shared" / "data" / "ppipe-artifact"
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    if not folder.is_dir():
        print(f"{folder}: no such folder. Name the folder of a PPipe artifact; nothing was measured.")
        return 0
    start = time.process_time()
    data: dict[tuple[str, str], Measured] = {}
    for name, profile in read_profiles(folder).items():
        if name not in MODELS:
            continue
        graph, boundaries, covered = checked(folder, name, profile)
        print(f"{name}: {covered} of {len(profile.blocks)} blocks, {len(graph.operators)} operators")
        for device in CLASSES:
            table = profile.table(device, 1)
            # Past the sketch's end: pooling and a classifier of 1000.
            cut = replace(table, latency_us=table.latency_us[:covered], p99_us=None)
            data[name, device] = Measured(graph, boundaries, device_spec(device), 1, cut)
    _print_models(data)
    _print_matrix(data)
    print(f"{time.process_time() - start:.1f} s of processor time")
    return 0


def _print_models(data: dict[tuple[str, str], Measured]) -> None:
    print("\nDefault efficiencies: median abs log ratio, and predicted / measured of the whole at batch 1")
    print(f"{'model':32}" + "".join(f"{device:>16}" for device in CLASSES))
    for name in MODELS:
        cells = []
        for device in CLASSES:
            one = data[name, device]
            made = predict(one.graph, one.boundaries, [one.spec], 1)[device, 1].latency_us
            whole = made[:, 0].sum() / one.table.latency_us[:, 0].sum()
            cells.append(f"{np.median(np.abs(error(one, DEFAULT_TABLE))):10.3f} {whole:5.2f}")
        print(f"{name:32}" + "".join(cells))


def _print_matrix(data: dict[tuple[str, str], Measured]) -> None:
    print("\nMedian abs log ratio over all models: rows calibrated on, columns predicted")
    print(f"{'':32}" + "".join(f"{device:>10}" for device in CLASSES) + f"{'unseen':>10}{'default':>10}")
    tables = {source: calibrate([data[m, source] for m in MODELS], source).table for source in CLASSES}
    without = {
        (source, left): calibrate([data[m, source] for m in MODELS if m != left], source).table
        for source in CLASSES
        for left in MODELS
    }
    plain = [_median(data, device, lambda m: DEFAULT_TABLE) for device in CLASSES]
    _print_row("default", plain, plain, None)
    for source in CLASSES:
        row = [_median(data, device, lambda m, t=tables[source]: t) for device in CLASSES]
        _print_row(f"{source}, the same models", row, plain, source)
    for source in CLASSES:
        row = [_median(data, device, lambda m, s=source: without[s, m]) for device in CLASSES]
        _print_row(f"{source}, without the model", row, plain, source)
    row = []
    for device in CLASSES:
        others = [data[m, source] for m in MODELS for source in CLASSES if source != device]
        table = calibrate(others, "others").table
        row.append(_median(data, device, lambda m, t=table: t))
    _print_row("the three others, same models", row, plain, None)
    for source, table in tables.items():
        kept = {name: one for name, one in table.groups.items() if one != DEFAULT_TABLE.groups[name]}
        print(f"\n{source}: launch {table.launch_us:.1f} us")
        factor = table.devices[source]
        print(
            f"  {'the class':22} arithmetic {factor.arithmetic:.2f}  bandwidth {factor.bandwidth:.2f}  "
            f"launch {factor.launch:.2f}"
        )
        for name, one in kept.items():
            print(
                f"  {name:22} vector {one.vector:.2f}  tensor {one.tensor:.2f}  bandwidth {one.bandwidth:.2f}"
            )


def _median(
    data: dict[tuple[str, str], Measured], device: str, table_of: Callable[[str], EfficiencyTable]
) -> float:
    return float(np.median(np.abs(np.concatenate([error(data[m, device], table_of(m)) for m in MODELS]))))


def _print_row(label: str, row: list[float], plain: list[float], source: str | None) -> None:
    """The last two: the mean over the classes not calibrated on, and that of the default on the same classes."""
    means = [
        np.mean([value for value, device in zip(values, CLASSES, strict=True) if device != source])
        for values in (row, plain)
    ]
    print(f"{label:32}" + "".join(f"{value:10.3f}" for value in (*row, *means)))


if __name__ == "__main__":
    sys.exit(main())
