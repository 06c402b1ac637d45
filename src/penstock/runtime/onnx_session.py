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

    Other providers keep engines by themselves (:func:`engine_folder`).
    """
    if settings.cache is None or provider not in ("CPUExecutionProvider", "CUDAExecutionProvider"):
        return None
    if sum(part.stat().st_size for part in _files_of(model)) > LARGEST_KEPT_BYTES:
        return None
    folder = Path(settings.cache)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{_content_key(model, provider, version)}.optimised.onnx"


def engine_folder(settings: RuntimeSettings, model: Path, provider: str, version: str) -> Path | None:
    """Where ``provider`` keeps the engines of ``model``, made if it is not there; None if nothing is kept.

    Each content has a folder of its own, because TensorRT's provider knows an engine by the names in the graph, and so
    gives a model with new weights the engine of the old ones (microsoft/onnxruntime, issue 6455). It also makes
    no folder whose parent is missing.
    """
    if settings.cache is None or provider not in _KEEP_ENGINES:
        return None
    folder = Path(settings.cache) / settings.precision / _content_key(model, provider, version)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


_KEEP_ENGINES = frozenset(
    {"TensorrtExecutionProvider", "MIGraphXExecutionProvider", "OpenVINOExecutionProvider"}
)


def _files_of(model: Path) -> list[Path]:
    """The file, and that of its weights if they lie beside it."""
    return [model, *(one for one in [model.with_name(f"{model.name}.weights")] if one.exists())]


def _content_key(model: Path, provider: str, version: str) -> str:
    """The digest of what a compiled model depends on: the content, provider, version of onnxruntime, and the
    processor, for whose instructions the layout is chosen."""
    digest = sha256(f"{provider} {version} {platform.machine()} {host_facts().processor}".encode())
    for part in _files_of(model):
        with part.open("rb") as file:
            digest.update(file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def open_kept(runtime: Any, options: Any, model: Path, kept: Path | None, providers: list[Any]) -> Any:
    """A session of the graph in ``kept``, as it is; without one, of ``model``, whose optimised graph is kept there."""
    if kept is None:
        return _session(runtime, model, options, providers)
    if kept.exists():
        options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
        return _session(runtime, kept, options, providers)
    # Workers of a pool start at once: each writes a file of its own, and the last whole one stays.
    beside = kept.with_name(f"{kept.name}.{os.getpid()}")
    options.optimized_model_filepath = str(beside)
    try:
        session = _session(runtime, model, options, providers)
        beside.replace(kept)
    finally:
        beside.unlink(missing_ok=True)
    return session


def _session(runtime: Any, model: Path, options: Any, providers: list[Any]) -> Any:
    """Without onnxruntime's own fallback: if a provider fails, at the start or at a run, it takes another one with
    options of its own, TF32 among them."""
    return runtime.InferenceSession(str(model), options, providers=providers, enable_fallback=0)
