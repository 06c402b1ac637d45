"""The options of ``serve`` that choose what runs the pieces of a model, for one device class or for all others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, final

import click

from penstock.cli.common.option_group import option_group

if TYPE_CHECKING:
    from penstock.plan.documents.plan import Plan
    from penstock.runtime.settings import RuntimeSettings
    from penstock.serve.spec import ExecutorKind

_OPTIONS = (
    click.option(
        "--executor",
        "executors",
        multiple=True,
        metavar="[CLASS=]KIND",
        help="onnxruntime (default), torch, padded or emulated, for one device class or for all others. A class that "
        "requires a GPU takes onnxruntime if that can use it, otherwise torch.",
    ),
    click.option(
        "--device",
        "devices",
        multiple=True,
        metavar="[CLASS=]DEVICE",
        help="cpu (default), or cuda:N for a GPU. A class that requires a GPU computes on it.",
    ),
    click.option(
        "--precision",
        "precisions",
        multiple=True,
        metavar="[CLASS=]PRECISION",
        help="fp32 (default), tf32 or fp16, on a GPU: as in the profile.",
    ),
    click.option(
        "--mode",
        "modes",
        multiple=True,
        metavar="[CLASS=]MODE",
        help="How torch runs: graph (CUDA graphs, default on a GPU), eager (default on the CPU) or compiled.",
    ),
    click.option(
        "--provider",
        "providers",
        multiple=True,
        metavar="[CLASS=]NAME",
        help="onnxruntime's execution provider [default: on a GPU the first that starts of tensorrt, cuda, "
        "migraphx, openvino].",
    ),
    click.option(
        "--engine-cache",
        type=click.Path(file_okay=False, path_type=Path),
        help="Folder for engines and optimised graphs, kept for the next start [default: on a GPU one that ends with "
        "the server].",
    ),
)


@final
@dataclass(frozen=True)
class ServingRuntimes:
    """What the options say."""

    executors: tuple[str, ...]
    devices: tuple[str, ...]
    precisions: tuple[str, ...]
    modes: tuple[str, ...]
    providers: tuple[str, ...]
    engine_cache: Path | None

    def chosen(self, plan: Plan) -> tuple[dict[str, ExecutorKind], dict[str, RuntimeSettings]]:
        """The executor and the settings of each device class of ``plan``.

        Raises :class:`~penstock.errors.BadInputError` for an unknown class or value, or for values that do not go
        together.
        """
        from penstock.device.facts import VENDORS
        from penstock.serve.executor.runtime_options import parse_runtimes, with_gpu_defaults
        from penstock.serve.prepare import parse_executors

        specs = plan.scenario.cluster.device_classes
        classes = frozenset(specs)
        on_gpu = {name: tuple(spec.requires or VENDORS) for name, spec in specs.items() if spec.needs_device}
        kinds = parse_executors(self.executors, classes)
        kinds = with_gpu_defaults(kinds, self.devices, on_gpu, by_turns=plan.scheduled is not None)
        cache = None if self.engine_cache is None else str(self.engine_cache.absolute())
        texts = {
            "device": self.devices,
            "precision": self.precisions,
            "mode": self.modes,
            "provider": self.providers,
        }
        return kinds, parse_runtimes(texts, kinds, classes, cache, frozenset(on_gpu))


serving_runtime_options = option_group("runtimes", ServingRuntimes, _OPTIONS)
"""Adds the options to a command, which gets them as ``runtimes``."""
