"""The seam between a worker and what computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from penstock.serve.protocol.raw import Array


class Executor(Protocol):
    """Computes one stage of a model, one batch at a time."""

    def run(self, tensors: Mapping[str, Array], size: int) -> dict[str, Array]:
        """The stage's computed tensors by name, for a batch of ``size`` samples with its inputs by name.

        Any exception fails this batch and no other.
        """
        ...
