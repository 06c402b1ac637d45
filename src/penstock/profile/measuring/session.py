"""onnxruntime sessions on the CPU as workers run them: measured and served under the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.errors import BadInputError
from penstock.runtime.onnx_session import import_onnxruntime, session_options
from penstock.runtime.settings import RuntimeSettings

__all__ = ["import_onnxruntime", "open_session"]


def open_session(model: Path, threads: int = 1) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU for the ONNX file ``model``.

    One thread a worker by default: co-located workers then share a device by the operating system's
    scheduler alone, and one worker's pool cannot oversubscribe another's. Raises :class:`MissingExtraError`
    without onnxruntime, :class:`BadInputError` for a model that it cannot load.
    """
    runtime = import_onnxruntime()
    options = session_options(runtime, RuntimeSettings(threads=threads))
    try:
        return runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception types have no public common base
        raise BadInputError(f"{model}: onnxruntime cannot load it: {error}") from error
