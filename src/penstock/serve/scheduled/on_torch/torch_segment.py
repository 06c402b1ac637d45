"""One segment of a model as a torch program: from the tensors that cross its start to those that cross its end."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, final

from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_device import import_torch

TorchTensors = Mapping[str, Any]
"""torch tensors by name."""


@final
class TorchSegment:
    """The sub-model in ``file``; ``forwarded`` names the inputs that are still needed behind it.

    A program is built for each set of input shapes, on first use. Called by several threads at once.
    """

    def __init__(self, file: Path, forwarded: frozenset[str], device: Any, settings: RuntimeSettings) -> None:
        torch = import_torch("running segments on torch")
        from penstock.runtime.program import TorchProgram

        self._torch = torch
        self._is_compiled = settings.torch_mode == "compiled"
        self._forwarded = forwarded
        self._program = TorchProgram(
            file,
            device,
            dtype=torch.float16 if settings.precision == "fp16" else torch.float32,
            channels_last=settings.device != "cpu" and settings.precision != "fp32",
        )
        self._built: dict[tuple[Any, ...], Callable[..., Any]] = {}
        self._lock = threading.Lock()

    def __call__(self, tensors: TorchTensors) -> TorchTensors:
        """What crosses the end."""
        arguments = [tensors[name] for name in self._program.inputs]
        passed = {name: tensor for name, tensor in tensors.items() if name in self._forwarded}
        made = self._function(arguments)(*arguments)
        return {**passed, **dict(zip(self._program.outputs, made, strict=True))}

    def _function(self, arguments: list[Any]) -> Callable[..., Any]:
        shapes = tuple(tuple(tensor.shape) for tensor in arguments)
        found = self._built.get(shapes)
        if found is None:
            with self._lock:  # two threads may meet a new shape at once: it is built by one of them
                found = self._built.get(shapes)
                if found is None:
                    found = self._program.build(*arguments)
                    if self._is_compiled:
                        found = self._torch.compile(found, dynamic=False)
                    self._built[shapes] = found
        return found
