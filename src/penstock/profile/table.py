"""The profile of one model: its blocks, what crosses their boundaries, and how long each takes.

Blocks ``0 .. n-1`` are contiguous in the model's topological order; boundary ``b`` lies before block
``b``, so boundary 0 is the model's input and boundary ``n`` its output.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.graph.reading.options import AS_IT_IS, ReadOptions
from penstock.profile.cutting import Cut
from penstock.profile.links import Link
from penstock.profile.measured_machine import Machine, WorkerCosts


@dataclass(frozen=True)
class Block:
    """A contiguous group of operators, the unit of planning. Bytes are per worker, activations per sample."""

    name: str
    operators: tuple[str, ...]
    parameter_bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class BlockMemory:
    """Peak bytes that a block took on a device at the largest batch measured.

    ``workspace_bytes`` is what the libraries took beyond weights and activations; the context of the process is not in
    it, because a worker takes it once, whatever it runs.
    """

    weights_bytes: int
    activation_bytes: int
    workspace_bytes: int


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from. ``device`` and ``software`` are for people; ``date`` is ISO 8601.

    ``machine`` is what measured them, to compare with the machine that uses them; None if that is not known.
    """

    kind: Literal["measured", "imported", "predicted"]
    device: str
    software: str
    date: str
    seed: int | None = None
    note: str = ""
    machine: Machine | None = None


FEW_RUNS = 100
"""Of fewer runs, the 99th percentile is only the slowest run seen: it says little about the next hundred."""


@dataclass(frozen=True)
class SharedWeights:
    """``size_bytes`` of weights that each of ``blocks`` counts in its ``parameter_bytes``: a worker loads them once."""

    size_bytes: int
    blocks: tuple[int, ...]


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of every block on one (device class, share).

    ``latency_us``: int64, shape (blocks, batches), column ``k`` is batch ``k + 1``, medians.
    ``p99_us``: the same shape, or None if no distribution is known. ``runs`` is the number of timed runs,
    the fewest of any cell; 0 if none were timed. ``device_us``: the same shape, at most ``latency_us``: the part of
    it that the device computes, if a worker takes more (copies from and to the host); None if that is all of it.
    ``given_batches``: the batches that were measured or given, ascending, if others are filled in; None for all.
    ``is_padded``: a batch between two given ones costs what the larger one does, because it runs as that one (a CUDA
    graph has one size); else it lies on the straight line between them.
    """

    latency_us: I64
    p99_us: I64 | None = None
    runs: int = 0
    device_us: I64 | None = None
    given_batches: tuple[int, ...] | None = None
    is_padded: bool = False

    @property
    def batches(self) -> tuple[int, ...]:
        """The batches that are not filled in, ascending."""
        return tuple(range(1, self.max_batch + 1)) if self.given_batches is None else self.given_batches

    @property
    def computing_us(self) -> I64:
        """The device's own time, as a model of its arithmetic predicts it: int64, shape (blocks, batches)."""
        return self.latency_us if self.device_us is None else self.device_us

    @property
    def max_batch(self) -> int:
        """The largest batch the table covers; batches 1 to this are all present."""
        return int(self.latency_us.shape[1])

    @cached_property
    def _prefix_us(self) -> I64:
        zero = np.zeros((1, self.max_batch), dtype=np.int64)
        return np.concatenate([zero, np.cumsum(self.latency_us, axis=0)])

    def span_us(self, start: int, stop: int) -> I64:
        """Latency of blocks ``[start, stop)`` run in sequence: int64, shape (batches,), at least 1."""
        span: I64 = self._prefix_us[stop] - self._prefix_us[start]
        return np.maximum(span, np.int64(1))


@dataclass(frozen=True)
class Profile:
    """Everything the planner knows of a model.

    ``boundary_bytes``: per sample, length ``blocks + 1``. ``tables`` by (device class, share).
    ``whole_us``: whole-model batch-1 latency by device class, if it was measured.
    ``model_file``: the ONNX file, absolute, if there is one; ``model_sha256`` pins its content.
    ``class_provenance``: device classes whose figures come from elsewhere than ``provenance`` says.
    ``worker_costs``: by device class, what a worker takes besides its time, if it was measured.
    ``block_memory``: by device class, what each block took of the device's memory, if it was measured.
    ``links``: by device class, copies to and from one device of it, and to the others of the machine that measured it.
    ``cuts``: by device class, the cut (in blocks) that lets shorter models on the same device go between; only
    cuts that were measured and cost little enough. ``reading``: what the user decided about ``model_file``.
    ``shared_weights``: what several blocks read (tied weights).
    """

    model: str
    blocks: tuple[Block, ...]
    boundary_bytes: tuple[int, ...]
    tables: Mapping[tuple[str, int], LatencyTable]
    provenance: Provenance
    whole_us: Mapping[str, int] = field(default_factory=dict)
    model_file: str | None = None
    model_sha256: str | None = None
    class_provenance: Mapping[str, Provenance] = field(default_factory=dict)
    worker_costs: Mapping[str, WorkerCosts] = field(default_factory=dict)
    block_memory: Mapping[str, tuple[BlockMemory, ...]] = field(default_factory=dict)
    links: Mapping[str, tuple[Link, ...]] = field(default_factory=dict)
    cuts: Mapping[str, Cut] = field(default_factory=dict)
    reading: ReadOptions = AS_IT_IS
    shared_weights: tuple[SharedWeights, ...] = ()

    def parameter_bytes(self, start: int, stop: int) -> int:
        """Bytes of the weights that a worker of blocks ``[start, stop)`` loads. Shared ones count once."""
        total = sum(block.parameter_bytes for block in self.blocks[start:stop])
        for shared in self.shared_weights:
            readers = sum(start <= block < stop for block in shared.blocks)
            total -= shared.size_bytes * max(readers - 1, 0)
        return total

    def provenance_of(self, device_class: str) -> Provenance:
        """Where the figures of ``device_class`` come from."""
        return self.class_provenance.get(device_class, self.provenance)

    def worker_costs_of(self, device_class: str) -> WorkerCosts:
        """What a worker takes on ``device_class`` besides its time; nothing if it was not measured."""
        return self.worker_costs.get(device_class, WorkerCosts())

    def segments_on(self, device_class: str) -> tuple[int, ...]:
        """Where a scheduled device of that class may stop: boundaries in blocks, from 0 to all; uncut: only these."""
        cut = self.cuts.get(device_class)
        return (0, len(self.blocks)) if cut is None else cut.boundaries

    @property
    def device_classes(self) -> tuple[str, ...]:
        """The device classes that have a table, sorted."""
        return tuple(sorted({device_class for device_class, _ in self.tables}))

    def shares_of(self, device_class: str) -> tuple[int, ...]:
        """The shares of ``device_class`` that have a table, ascending."""
        return tuple(sorted(share for name, share in self.tables if name == device_class))

    def table(self, device_class: str, share: int) -> LatencyTable:
        """The latencies on a share; :class:`BadInputError` if there is none."""
        try:
            return self.tables[device_class, share]
        except KeyError:
            known = ", ".join(f"{name}/{number}" for name, number in sorted(self.tables)) or "none"
            raise BadInputError(
                f"profile of {self.model}: no latencies for device class {device_class!r} at share {share} "
                f"(it has {known}). Profile that class, or take it out of the cluster."
            ) from None
