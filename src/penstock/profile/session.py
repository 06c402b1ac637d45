"""onnxruntime sessions as workers run them: measured and served under the same settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.errors import BadInputError, MissingExtraError


def open_session(model: Path, threads: int = 1) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU for the ONNX file ``model``.

    One thread a worker by default: co-located workers then share a device by the operating system's
    scheduler alone, and one worker's pool cannot oversubscribe another's. Raises :class:`MissingExtraError`
    without onnxruntime, :class:`BadInputError` for a model that it cannot load.
    """
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Pool threads that spin while idle would eat the cores of the co-located workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3  # errors only: its warnings about a sub-model's unused weights help nobody
    try:
        return runtime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exception types have no public common base
        raise BadInputError(f"{model}: onnxruntime cannot load it: {error}") from error


def import_onnxruntime() -> Any:
    """The module, or :class:`MissingExtraError` that names the extra."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("running a model", "serve") from None
    return onnxruntime
