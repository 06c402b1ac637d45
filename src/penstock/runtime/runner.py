"""The seam between what needs a sub-model computed (profile, serve) and what computes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from penstock.runtime.settings import RuntimeSettings

Array = NDArray[Any]


@dataclass(frozen=True)
class MemoryUse:
    """Peak bytes of a loaded and warm sub-model on its device.

    Activations are the tensors of one run; workspace is what the libraries took besides.
    """

    weights_bytes: int
    activation_bytes: int
    workspace_bytes: int


class BoundRun(Protocol):
    """One batch whose inputs are in place, to be run again and again."""

    def run(self) -> float | None:
        """Run once and wait for the end; microseconds on the device's own clock, None if it has none."""
        ...


class Runner(Protocol):
    """A sub-model, loaded on its device."""

    @property
    def in_words(self) -> str:
        """What computes it: the runtime, and its provider or mode. As :attr:`RuntimeSettings.in_words`, but certain."""
        ...

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the inputs, in the model's order."""
        ...

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the outputs, in the model's order."""
        ...

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name; both sides are in the host's memory."""
        ...

    def bind(self, feeds: Mapping[str, Array]) -> BoundRun:
        """Put ``feeds`` where the device reads them, and make ready to run."""
        ...

    def memory(self) -> MemoryUse | None:
        """What the device's memory holds at most, if the device tells."""
        ...


def open_runner(model: Path, settings: RuntimeSettings) -> Runner:
    """``model`` (an ONNX file) under ``settings``.

    Raises :class:`MissingExtraError` without the runtime's package, :class:`BadInputError` for a model that it
    cannot run or a device that is not there.
    """
    if settings.kind == "torch":
        from penstock.runtime.torch_runner import TorchRunner

        return TorchRunner(model, settings)
    from penstock.runtime.onnx_runner import OnnxRunner

    return OnnxRunner(model, settings)
