"""The protocol's documents about the server and its models, as plain values ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import penstock
from penstock.serve.protocol.routes import VERSION
from penstock.serve.spec import ModelSpec, TensorSpec

EXTENSIONS = ("binary_tensor_data", "statistics", "model_configuration", "schedule_policy", "parameters")

# The configuration writes datatypes in the notation of its own, older schema.
_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def server_metadata(models: Iterable[ModelSpec]) -> dict[str, Any]:
    """Name, version, extensions; says which models answer zeros, and which are held to their tables."""
    document: dict[str, Any] = {
        "name": "penstock",
        "version": penstock.__version__,
        "extensions": list(EXTENSIONS),
    }
    kinds = {
        "emulated_models": [model.name for model in models if model.is_emulated],
        "held_models": [model.name for model in models if model.is_held],
    }
    document |= {key: names for key, names in kinds.items() if names}
    return document


def model_metadata(model: ModelSpec) -> dict[str, Any]:
    """Inputs and outputs; ``parameters`` carries the SLO, the planned rate and what executes the stages."""
    return {
        "name": model.name,
        "versions": [VERSION],
        "platform": _platform(model),
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        "parameters": _parameters(model),
    }


def model_config(model: ModelSpec) -> dict[str, Any]:
    """The ``model_configuration`` extension: what load generators need, and the same parameters."""
    return {
        "name": model.name,
        "platform": _platform(model),
        "backend": "penstock",
        "max_batch_size": model.max_batch,
        "version_policy": {"specific": {"versions": [int(VERSION)]}},
        "input": [_config_tensor(tensor) for tensor in model.inputs],
        "output": [_config_tensor(tensor) for tensor in model.outputs],
        "dynamic_batching": {"default_queue_policy": {"default_timeout_microseconds": model.slo_us}},
        "parameters": {name: {"string_value": _text(value)} for name, value in _parameters(model).items()},
    }


def repository_index(models: Sequence[ModelSpec], ready: Sequence[bool]) -> list[dict[str, str]]:
    """One entry a model, with its state."""
    return [
        {"name": model.name, "version": VERSION, "state": "READY" if up else "UNAVAILABLE", "reason": ""}
        for model, up in zip(models, ready, strict=True)
    ]


def _platform(model: ModelSpec) -> str:
    return "emulated" if model.executors == ("emulated",) else "onnx_onnxruntime"


def _parameters(model: ModelSpec) -> dict[str, Any]:
    return {
        "slo_us": model.slo_us,
        "planned_rps": model.rate_rps,
        "executors": ",".join(model.executors),
        "emulated": model.is_emulated,
        "held_to_table": model.is_held,
    }


def _text(value: object) -> str:
    """A parameter as the protocol's text: ``true`` and ``false``, not Python's spelling."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _config_tensor(tensor: TensorSpec) -> dict[str, Any]:
    """In a configuration the batch dimension is not written."""
    return {
        "name": tensor.name,
        "data_type": _CONFIG_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}"),
        "dims": list(tensor.shape[1:]),
    }
