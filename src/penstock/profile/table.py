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
from numpy.typing import NDArray

from penstock.errors import BadInputError


@dataclass(frozen=True)
class Block:
    """A contiguous group of operators, the unit of planning. Bytes are per worker, activations per sample."""

    name: str
    operators: tuple[str, ...]
    parameter_bytes: int
    peak_activation_bytes: int


@dataclass(frozen=True)
class Provenance:
    """Where the figures come from. ``device`` and ``software`` are for people; ``date`` is ISO 8601."""

    kind: Literal["measured", "imported", "predicted"]
    device: str
    software: str
    date: str
    seed: int | None = None
    note: str = ""


@dataclass(frozen=True)
class LatencyTable:
    """Latencies of every block on one (device class, share).

    ``latency_us``: int64, shape (blocks, batches), column ``k`` is batch ``k + 1``, medians.
    ``p99_us``: the same shape, or None where no distribution is known. ``runs`` is the number of timed runs,
    the fewest of any cell; 0 where none were timed.
    """

    latency_us: NDArray[np.int64]
    p99_us: NDArray[np.int64] | None = None
    runs: int = 0

    @property
    def max_batch(self) -> int:
        """The largest batch the table covers; batches 1 to this are all present."""
        return int(self.latency_us.shape[1])

    @cached_property
    def _prefix_us(self) -> NDArray[np.int64]:
        zero = np.zeros((1, self.max_batch), dtype=np.int64)
        return np.concatenate([zero, np.cumsum(self.latency_us, axis=0)])

    def span_us(self, start: int, stop: int) -> NDArray[np.int64]:
        """Latency of blocks ``[start, stop)`` run in sequence: int64, shape (batches,), at least 1."""
        span: NDArray[np.int64] = self._prefix_us[stop] - self._prefix_us[start]
        return np.maximum(span, np.int64(1))


@dataclass(frozen=True)
class Profile:
    """Everything the planner knows of a model.

    ``boundary_bytes``: per sample, length ``blocks + 1``. ``tables`` by (device class, share).
    ``whole_us``: whole-model batch-1 latency by device class, where it was measured.
    ``model_file``: the ONNX file, absolute, where there is one; ``model_sha256`` pins its content.
    ``class_provenance``: device classes whose figures come from elsewhere than ``provenance`` says.
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

    def provenance_of(self, device_class: str) -> Provenance:
        """Where the figures of ``device_class`` come from."""
        return self.class_provenance.get(device_class, self.provenance)

    @property
    def device_classes(self) -> tuple[str, ...]:
        """The device classes that have a table, sorted."""
        return tuple(sorted({device_class for device_class, _ in self.tables}))

    def shares_of(self, device_class: str) -> tuple[int, ...]:
        """The shares of ``device_class`` that have a table, ascending."""
        return tuple(sorted(share for name, share in self.tables if name == device_class))

    def table(self, device_class: str, share: int) -> LatencyTable:
        """The latencies on a share; :class:`BadInputError` where there is none."""
        try:
            return self.tables[device_class, share]
        except KeyError:
            known = ", ".join(f"{name}/{number}" for name, number in sorted(self.tables)) or "none"
            raise BadInputError(
                f"profile of {self.model}: no latencies for device class {device_class!r} at share {share} "
                f"(it has {known}). Profile that class, or take it out of the cluster."
            ) from None
