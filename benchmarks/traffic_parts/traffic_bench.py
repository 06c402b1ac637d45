"""What the sections share: the streams, the options, fitting, drawing and scoring."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from penstock.files import write_whole
from penstock.traffic.fidelity import score_streams
from penstock.traffic.generator.protocol import FitOptions, fit_generator, load_generator
from penstock.traffic.machine import known_machine
from penstock.traffic.truth import simulate_truth

HOUR, NEXT_HOUR = 10, 11


class Bench:
    """The streams, the options, and what was found so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.machine = known_machine("lte")
        self.training = simulate_truth("lte", options.streams, "phone", HOUR, seed=1)
        self.held_out = simulate_truth("lte", options.streams, "phone", HOUR, seed=2)
        self.small: dict[str, Any] = {"hidden": 64, "bins": 128} if options.small else {}
        self.found: dict[str, Any] = {}
        self.models: dict[str, Any] = {}

    def model(self, method: str) -> Any:
        """The generator of ``method`` that an earlier section made, here or into the folder."""
        if method not in self.models:
            bundle = self.options.folder / f"{method}.bundle" if self.options.folder else None
            if bundle is None or not bundle.exists():
                raise RuntimeError(f"needs the section that makes {method}, in this run or in --folder")
            self.models[method] = load_generator(bundle)
        return self.models[method]

    def keep(self, method: str, generator: Any) -> None:
        """Let later sections have ``generator``."""
        self.models[method] = generator
        if self.options.folder:

            def write(folder: Path) -> None:
                folder.mkdir()
                generator.save(folder)

            bundle = self.options.folder / f"{method}.bundle"
            write_whole(bundle, write, force=True, folder_of=("bundle.json", "weights.safetensors"))

    @property
    def tokens(self) -> int:
        """Of a training step: on a GPU four times as many cost about as much."""
        return self.options.tokens or (12_288 if self.options.device == "cuda" else 3072)

    def fit(self, method: str, seconds: float, streams: Any = None, **more: Any) -> Any:
        """A generator of ``method`` after ``seconds``."""
        start = more.pop("start_from", None)
        machine = more.pop("machine", None)
        hour = more.pop("hour", HOUR)
        device = self.options.device
        extra = {**(self.small if method == "gru" else {}), "device": device, "tokens": self.tokens, **more}
        options = FitOptions(
            cpu_seconds=seconds,
            machine=machine,
            start_from=start,
            hour=hour,
            extra=extra,
            progress=_progress(method),
        )
        return fit_generator(method, self.training if streams is None else streams, seed=0, options=options)

    def draw(self, generator: Any, streams: int | None = None, seed: int = 3) -> Any:
        """A sample as large as the held-out one; of networks without a kernel on the device of training."""
        return on_device(generator, self.options.device).sample(streams or self.options.streams, seed)

    def score(self, sample: Any) -> dict[str, float | None]:
        """All measures by name."""
        scores = score_streams(sample, self.held_out, training=self.training, machine=self.machine)
        return {name: scores[name].value for name in scores.names()}


def on_device(generator: Any, device: str) -> Any:
    """The default samples by its kernel on the CPU; others where they were trained."""
    if device == "cpu" or generator.method in ("gru", "smm", "replay"):
        return generator
    return replace(generator, device=device, batch=4096)


def _progress(name: str) -> Callable[[float, str], None]:
    def tell(done: float, text: str) -> None:
        print(f"  {name}: {done:5.1%} {text}", file=sys.stderr, flush=True)

    return tell
