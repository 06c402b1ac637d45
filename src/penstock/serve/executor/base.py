"""The interface between a worker and what computes its batches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from penstock.serve.protocol.raw import Array


class Executor(Protocol):
    """Computes one stage of a model, one batch at a time."""

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The stage's computed tensors by name, for a batch of ``size`` samples with its inputs by name.

        If it raises an exception, this batch fails, and no other.
        """
        ...

    def place(self, name: str, size: int) -> Array | None:
        """Where the parts of input ``name`` of the next batch may be put together, to save a copy; None: anywhere.

        It belongs to the executor, and holds what was put there until the next batch.
        """
        ...
