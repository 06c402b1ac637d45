"""What ``penstock profile`` measures: within a time budget, and continuing what an earlier run began."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.graph.reading.options import AS_IT_IS
from penstock.profile.machine_here import machine_at_hand
from penstock.profile.measuring.measure import Measurement, measure
from penstock.profile.measuring.partial import PartialResults, holds, partial_folder
from penstock.profile.measuring.timing import Effort
from penstock.progress import task as watched_task
from penstock.progress import tell
from penstock.runtime.mps import multi_process_service
from penstock.runtime.settings import RuntimeSettings


@dataclass(frozen=True)
class Task:
    """What to measure, for the profile folder ``output``."""

    model: OnnxModel
    boundaries: tuple[int, ...]
    device_class: str
    settings: RuntimeSettings
    max_batch: int
    shares: Sequence[int]
    threads: int
    seed: int
    mps: bool
    output: Path
    samples: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    @cached_property
    def question(self) -> dict[str, Any]:
        """Everything on which a timed run depends. More batches or shares may be requested later."""
        machine = machine_at_hand(self.settings)
        return {
            "device": machine.device_name,
            "driver": machine.driver,
            "power_limit_w": machine.power_limit_w,
            "libraries": dict(machine.libraries),
            "model_sha256": self.model.sha256,
            "boundaries": list(self.boundaries),
            "device_class": self.device_class,
            "settings": asdict(self.settings),
            "threads": self.threads,
            "seed": self.seed,
            "mps": self.mps,
            **({} if self.model.options == AS_IT_IS else {"reading": asdict(self.model.options)}),
            **({} if not self.samples else {"samples": _digest(self.samples)}),
        }

    def is_begun(self) -> bool:
        """Whether an earlier run of the same task left partial results."""
        return holds(partial_folder(self.output), self.question)


def run_task(task: Task, seconds: float, *, force: bool) -> Measurement:
    """Measure, and continue what an earlier run began. Partial results are kept until the task is complete."""
    if task.mps and task.settings.device == "cpu":
        raise BadInputError("--mps is for a GPU: leave it out, or give --device cuda:0.")
    results = PartialResults(partial_folder(task.output), task.question, force=force)
    if results.count:
        tell(f"Going on with {results.count} batches measured before ({partial_folder(task.output)}).")
    with multi_process_service() if task.mps else nullcontext(), watched_task("measuring") as step:
        found = measure(
            task.model,
            task.boundaries,
            max_batch=task.max_batch,
            shares=task.shares,
            settings=task.settings,
            threads=task.threads,
            effort=Effort(seconds=seconds),
            seed=task.seed,
            progress=lambda done, total, what: step(done, f"measuring {what}", total),
            keeper=results,
            samples=task.samples,
        )
    if found.is_timed_out:
        tell("The time was over before the largest batch. Give the same command again to continue from here.")
    else:
        results.remove()
    machine = found.provenance.machine
    if task.mps and machine is not None:
        # The driver can see this run's service only during the run.
        found = replace(found, provenance=replace(found.provenance, machine=replace(machine, mps=True)))
    return found


def _digest(samples: Mapping[str, NDArray[Any]]) -> str:
    made = sha256()
    for name, array in sorted(samples.items()):
        made.update(f"{name} {array.dtype} {array.shape}".encode())
        made.update(array.tobytes())
    return made.hexdigest()
