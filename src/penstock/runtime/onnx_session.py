"""onnxruntime itself, and the options that every session of a worker has."""

from __future__ import annotations

import os
import platform
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from penstock.device.host import host_facts
from penstock.errors import MissingExtraError
from penstock.runtime.settings import RuntimeSettings

LARGEST_KEPT_BYTES = 3 << 29
"""An optimised graph is one ONNX file, which may not pass 2 GiB."""


def import_onnxruntime() -> Any:
    """The module, or :class:`MissingExtraError` that names the extra."""
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("running a model", "serve") from None
    return onnxruntime


def session_options(runtime: Any, settings: RuntimeSettings) -> Any:
    """One thread a worker by default, no spinning."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = settings.threads
    options.inter_op_num_threads = 1
    # Pool threads that spin while idle would eat the cores of the co-located workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Its errors are raised too, and are said with our own words. As lines they are red in a file as well.
    options.log_severity_level = 4
    return options


def kept_graph(settings: RuntimeSettings, model: Path, provider: str, version: str) -> Path | None:
    """Where the optimised graph of ``model`` is kept for the next start; None if it is not.

    Its name is the digest of all that it depends on: the model's content, provider, version of onnxruntime, and the
    processor, for whose instructions the layout is chosen. Other providers keep engines by themselves.
    """
    if settings.cache is None or provider not in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        return None
    parts = [model, *(one for one in [model.with_name(f"{model.name}.weights")] if one.exists())]
    if sum(part.stat().st_size for part in parts) > LARGEST_KEPT_BYTES:
        return None
    folder = Path(settings.cache)
    folder.mkdir(parents=True, exist_ok=True)
    digest = sha256(f"{provider} {version} {platform.machine()} {host_facts().processor}".encode())
    for part in parts:
        with part.open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return folder / f"{digest.hexdigest()[:32]}.optimised.onnx"


def open_kept(runtime: Any, options: Any, model: Path, kept: Path | None, providers: list[Any]) -> Any:
    """A session of the graph in ``kept``, as it is; without one, of ``model``, whose optimised graph is kept there."""
    if kept is None:
        return runtime.InferenceSession(str(model), options, providers=providers)
    if kept.exists():
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return runtime.InferenceSession(str(kept), options, providers=providers)
    # Workers of a pool start at once: each writes a file of its own, and the last whole one stays.
    beside = kept.with_name(f"{kept.name}.{os.getpid()}")
    options.optimized_model_filepath = str(beside)
    try:
        session = runtime.InferenceSession(str(model), options, providers=providers)
        beside.replace(kept)
    finally:
        beside.unlink(missing_ok=True)
    return session
