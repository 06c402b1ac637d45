"""The protocol's documents about the server and its models, as plain values ready for JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import penstock
from penstock.serve.spec import ModelSpec, TensorSpec

EXTENSIONS = (
    "binary_tensor_data",
    "model_configuration",
    "model_repository",
    "parameters",
    "statistics",
)
"""What works. Not ``schedule_policy``: its ``timeout`` works, its ``priority`` does not."""
SHARED_MEMORY = "system_shared_memory"
"""One more, if the operator allows it."""

TRACE_OFF = {
    "trace_level": ["OFF"],
    "trace_rate": "1000",
    "trace_count": "-1",
    "log_frequency": "0",
    "trace_file": "",
    "trace_mode": "triton",
}
"""What load generators ask for before they start, in the form that they can read."""

# The configuration writes datatypes in the notation of its own, older schema.
_CONFIG_TYPES = {"BYTES": "TYPE_STRING"}


def server_metadata(models: Sequence[ModelSpec], *, has_regions: bool = False) -> dict[str, Any]:
    """Name, version and extensions, which models answer with zeros, and which are slowed down to their tables."""
    document: dict[str, Any] = {
        "name": "penstock",
        "version": penstock.__version__,
        "extensions": [*EXTENSIONS, *((SHARED_MEMORY,) if has_regions else ())],
    }
    kinds = {
        "emulated_models": [*dict.fromkeys(model.public_name for model in models if model.is_emulated)],
        "held_models": [*dict.fromkeys(model.public_name for model in models if model.is_held)],
    }
    document |= {key: names for key, names in kinds.items() if names}
    return document


def model_metadata(model: ModelSpec, versions: Iterable[str] = ("1",)) -> dict[str, Any]:
    """Inputs and outputs of one of the ``versions`` that there are.

    ``parameters`` carries the SLO, the planned rate and what executes the stages.
    """
    return {
        "name": model.public_name,
        "versions": list(versions),
        "platform": _platform(model),
        "inputs": [_tensor(tensor) for tensor in model.inputs],
        "outputs": [_tensor(tensor) for tensor in model.outputs],
        "parameters": _parameters(model),
    }


def model_config(model: ModelSpec, versions: Iterable[str] = ("1",)) -> dict[str, Any]:
    """The ``model_configuration`` extension: what load generators need, and the same parameters."""
    return {
        "name": model.public_name,
        "platform": _platform(model),
        "backend": "penstock",
        "max_batch_size": model.max_batch,
        "version_policy": {"specific": {"versions": [int(version) for version in versions]}},
        "input": [_config_tensor(tensor) for tensor in model.inputs],
        "output": [_config_tensor(tensor) for tensor in model.outputs],
        "dynamic_batching": {"default_queue_policy": {"default_timeout_microseconds": model.slo_us}},
        "parameters": {name: {"string_value": _text(value)} for name, value in _parameters(model).items()},
    }


def repository_index(models: Sequence[ModelSpec], ready: Sequence[bool]) -> list[dict[str, str]]:
    """One entry for each version of each model, with its state."""
    return [
        {
            "name": model.public_name,
            "version": str(model.version),
            "state": "READY" if up else "UNAVAILABLE",
            "reason": "",
        }
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
    """A parameter as text of the protocol: ``true`` and ``false`` in lower case."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _tensor(tensor: TensorSpec) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": list(tensor.shape)}


def _config_tensor(tensor: TensorSpec) -> dict[str, Any]:
    """A tensor in the configuration, which leaves out the batch dimension if there is one."""
    return {
        "name": tensor.name,
        "data_type": _CONFIG_TYPES.get(tensor.datatype, f"TYPE_{tensor.datatype}"),
        "dims": [length for length in tensor.shape if length != -1],
    }
