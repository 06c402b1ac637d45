"""The kernels of a model, as the block model needs them: from a file, or derived from the model's operators.

Derived figures are guesses of the right size, and labelled so: nobody has measured those kernels.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import final

from penstock.errors import BadInputError
from penstock.graph.model_graph import ModelGraph
from penstock.profile.prediction.device_catalogue import device_spec
from penstock.profile.prediction.efficiency import LAUNCH_US
from penstock.profile.prediction.predict import predict_operators
from penstock.schedule.device import Need
from penstock.simulate.device.gpus import Gpu

_ONE_BLOCK = Need(1)
COMPUTE, COPY_IN, COPY_OUT = 0, 1, 2
_KINDS = {"compute": COMPUTE, "copy-in": COPY_IN, "copy-out": COPY_OUT}
_COLUMNS = ("kind", "blocks", "threads", "registers", "shared_bytes", "block_us")

THREADS = 256
OUTPUTS_PER_BLOCK = 4096
REGISTERS_PER_THREAD = 64
SHARED_BYTES = 16 * 1024
"""A block of a common matrix kernel: 64 x 64 outputs by 256 threads, with two tiles of 64 x 32 floats staged."""


@final
@dataclass(frozen=True)
class Kernel:
    """One launch: ``blocks`` blocks that each take ``block_us`` and need ``each``; or a copy that takes
    ``block_us``."""

    blocks: int
    block_us: float
    each: Need = _ONE_BLOCK
    kind: int = COMPUTE

    def __post_init__(self) -> None:
        """Refuse what cannot run."""
        if self.blocks < 1 or not self.block_us > 0:
            raise BadInputError(f"blocks (={self.blocks}) must be >= 1 and block_us (={self.block_us}) > 0.")

    def alone_us(self, gpu: Gpu) -> float:
        """The time of the kernel alone on ``gpu``: full waves of blocks."""
        if self.kind != COMPUTE:
            return self.block_us
        return math.ceil(self.blocks / gpu.resident(self.each)) * self.block_us


@final
@dataclass(frozen=True)
class KernelProfile:
    """The launches of one job of a model, in order. ``origin``: ``file`` or ``derived``."""

    name: str
    kernels: tuple[Kernel, ...]
    origin: str

    def alone_us(self, gpu: Gpu) -> float:
        """The time of a job alone, launches aside."""
        return sum(kernel.alone_us(gpu) for kernel in self.kernels)


def read_kernels(path: Path) -> KernelProfile:
    """Read a CSV file with the columns kind, blocks, threads, registers, shared_bytes, block_us, a row a launch.

    ``kind`` is ``compute``, ``copy-in`` or ``copy-out``; ``registers`` and ``shared_bytes`` are per block. Raises
    :class:`BadInputError` that names file, line, field and rule.
    """
    if not path.is_file():
        raise BadInputError(f"{path} is not there: give a CSV file of kernels.")
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or tuple(rows[0]) != _COLUMNS:
        raise BadInputError(f"{path} must have the columns {','.join(_COLUMNS)} and at least one row.")
    return KernelProfile(path.stem, tuple(_row(path, line, row) for line, row in enumerate(rows, 2)), "file")


def _row(path: Path, line: int, row: dict[str, str]) -> Kernel:
    if row["kind"] not in _KINDS:
        raise BadInputError(f"{path}:{line}: kind (={row['kind']!r}) must be one of {', '.join(_KINDS)}.")
    try:
        figures = {name: float(row[name]) for name in _COLUMNS[1:]}
    except (TypeError, ValueError):
        raise BadInputError(f"{path}:{line}: {', '.join(_COLUMNS[1:])} must be numbers.") from None
    if not all(math.isfinite(value) and value >= 0 for value in figures.values()):
        raise BadInputError(f"{path}:{line}: every figure must be finite and >= 0.")
    each = Need(1, int(figures["threads"]), int(figures["registers"]), int(figures["shared_bytes"]))
    return Kernel(int(figures["blocks"]), figures["block_us"], each, _KINDS[row["kind"]])


def derive_kernels(graph: ModelGraph, gpu: Gpu, *, predicted_as: str | None = None) -> KernelProfile:
    """One kernel an operator: as many blocks as its outputs need, and the operator's predicted time.

    The time is the roofline prediction for the class ``predicted_as`` (the GPU's own name if None), less the
    launch, spread evenly over the waves of blocks. Input and output are copied.
    """
    spec = device_spec(gpu.name if predicted_as is None else predicted_as)
    each = Need(1, THREADS, THREADS * REGISTERS_PER_THREAD, SHARED_BYTES)
    resident = gpu.resident(each)
    kernels = [_copy(graph, graph.inputs, gpu, COPY_IN)]
    for operator, time_us in zip(graph.operators, predict_operators(graph, spec), strict=True):
        if time_us <= LAUNCH_US:
            continue  # no work: a view, or folded into another operator
        outputs = sum(graph.tensors[name].bytes_per_sample for name in operator.outputs) / 4
        blocks = max(1, math.ceil(outputs / OUTPUTS_PER_BLOCK))
        kernels.append(Kernel(blocks, float(time_us - LAUNCH_US) / math.ceil(blocks / resident), each))
    kernels.append(_copy(graph, graph.outputs, gpu, COPY_OUT))
    return KernelProfile(graph.name, tuple(kernels), "derived")


def _copy(graph: ModelGraph, names: tuple[str, ...], gpu: Gpu, kind: int) -> Kernel:
    size_bytes = sum(graph.tensors[name].bytes_per_sample for name in names)
    return Kernel(1, max(1.0, size_bytes / (gpu.copy_gbytes_per_s * 1e3)), kind=kind)
