"""``[CLASS=]VALUE`` options of the command line as the runtime settings of each device class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.device.facts import Vendor
from penstock.errors import BadInputError
from penstock.runtime.available import default_gpu_runtime
from penstock.runtime.settings import RuntimeKind, RuntimeSettings
from penstock.serve.spec import ExecutorKind


def by_class(option: str, texts: Sequence[str], known_classes: frozenset[str]) -> dict[str, str]:
    """The value of every class named, and under ``""`` that of all others; each once, or :class:`BadInputError`."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.rpartition("=")
        if name and name not in known_classes:
            known = ", ".join(sorted(known_classes))
            raise BadInputError(f"{option} {text!r}: the plan has no device class {name!r} (it has {known}).")
        if name in found:
            raise BadInputError(f"{option} {text!r}: given twice for {name or 'all classes'}; give it once.")
        found[name] = value
    return found


def parse_runtimes(
    options: Mapping[str, Sequence[str]],
    executors: Mapping[str, ExecutorKind],
    known_classes: frozenset[str],
    cache: str | None = None,
    on_gpu: frozenset[str] = frozenset(),
) -> dict[str, RuntimeSettings]:
    """Settings for every class; ``options`` are the texts of ``device``, ``precision``, ``mode``, ``provider``.

    Classes ``on_gpu`` require a device: their workers see that one only, so they compute on ``cuda`` (of any vendor,
    the first GPU) if nothing else is said. Raises :class:`BadInputError` for an unknown class or value, or values that
    do not go together.
    """
    chosen = {name: by_class(f"--{name}", texts, known_classes) for name, texts in options.items()}
    runtimes = {}
    for device_class in known_classes:
        values: dict[str, Any] = {
            name: values[device_class] if device_class in values else values[""]
            for name, values in chosen.items()
            if device_class in values or "" in values
        }
        executor = executors.get(device_class, executors.get("", "onnxruntime"))
        if device_class in on_gpu and executor in ("onnxruntime", "torch"):
            _check_pinned(device_class, values.setdefault("device", "cuda"))
        kind: RuntimeKind = "torch" if executor == "torch" else "onnxruntime"
        runtimes[device_class] = RuntimeSettings(kind=kind, cache=cache, **values)
    return runtimes


def with_run_cache(runtimes: Mapping[str, RuntimeSettings], folder: Path) -> dict[str, RuntimeSettings]:
    """``runtimes`` that keep what onnxruntime builds for a GPU in ``folder`` of the run, unless a folder was stated.

    A TensorRT engine takes minutes: so the workers of a pool build it once, and a restarted one finds it.
    """
    return {
        name: replace(one, cache=str(folder)) if _builds(one) and one.cache is None else one
        for name, one in runtimes.items()
    }


def _builds(settings: RuntimeSettings) -> bool:
    return settings.kind == "onnxruntime" and settings.device != "cpu"


def with_gpu_defaults(
    executors: Mapping[str, ExecutorKind],
    devices: Sequence[str],
    on_gpu: Mapping[str, Sequence[Vendor]],
    *,
    by_turns: bool = False,
) -> dict[str, ExecutorKind]:
    """``executors`` with a runtime that can use a GPU for those of ``on_gpu`` for which neither option says anything.

    ``on_gpu``: by class, the vendors of which it takes a device. ``by_turns``: models take turns on the devices. Raises
    :class:`BadInputError` if no installed runtime can.
    """
    said = {text.rpartition("=")[0] for text in devices}
    if "" in executors or "" in said:
        return dict(executors)
    free = sorted(on_gpu.keys() - executors.keys() - said)
    return {
        **executors,
        **{name: default_gpu_runtime(name, on_gpu[name], by_turns=by_turns) for name in free},
    }


def _check_pinned(device_class: str, device: str) -> None:
    if device not in ("cpu", "cuda", "cuda:0"):
        raise BadInputError(
            f"--device {device_class}={device}: the class requires a device, which serve chooses and which is all that "
            f"its workers see. Leave out --device, or take out 'requires'; CUDA_VISIBLE_DEVICES limits the choice."
        )
