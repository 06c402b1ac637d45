"""What runs the segments of a scheduled worker's stage: a runtime, held to the table's time or not; or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

from penstock.clock import MonotonicClock
from penstock.errors import DeviceLostError
from penstock.profile.measuring.session import open_session
from penstock.profile.segments.segmented import SegmentedModel, Tensors, session_segment
from penstock.runtime.device_errors import is_poisoned
from penstock.serve.devices import WorkerDevice
from penstock.serve.executor.emulated import zeros_of
from penstock.serve.executor.hold import hold_until
from penstock.serve.scheduled.device_models import warm_up
from penstock.serve.scheduled.thread_driver import SegmentRunner
from penstock.serve.spec import SegmentSpec, StageSpec


def stage_runner(stage: StageSpec, name: str, copies: int) -> SegmentRunner:
    """Loaded and warm, as ``stage.executor`` says. ``copies``: how many jobs of the model ``name`` may be begun."""
    if stage.executor == "emulated":
        return HeldSegments(NoComputing(stage), stage.segments)
    forwarded = [frozenset(segment.forwarded) for segment in stage.segments]
    if stage.executor == "torch":
        from penstock.serve.scheduled.on_torch.load import torch_segments

        files = [Path(segment.model_file or "") for segment in stage.segments]
        return torch_segments(name, files, forwarded, stage.inputs, stage.runtime, copies)
    runner = SegmentedModel(
        [
            session_segment(open_session(Path(segment.model_file or "")), segment.computed)
            for segment in stage.segments
        ],
        forwarded,
    )
    warm_up(runner, stage.inputs)
    return runner if stage.executor == "onnxruntime" else HeldSegments(runner, stage.segments)


@final
class OnDevice:
    """Another runner on a device of this machine. If the device is lost, or cannot be used any more, ``leave`` is told.

    Then every later segment would fail too, so the process ends, and a new one is started.
    """

    def __init__(
        self, inner: SegmentRunner, device: WorkerDevice, leave: Callable[[BaseException], None]
    ) -> None:
        self._inner, self._device, self._leave = inner, device, leave

    @property
    def n_segments(self) -> int:
        """As many as the other has."""
        return self._inner.n_segments

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """The other's outputs."""
        try:
            return self._inner.run(segment, tensors)
        except Exception as error:
            why = self._device.why_lost()
            if why is None and is_poisoned(error):
                why = f"device {self._device.uuid} cannot be used by this process any more: {error}"
            if why is not None:
                self._leave(DeviceLostError(why))
            raise


@final
@dataclass(frozen=True)
class NoComputing:
    """Zeros of the stage's outputs after its last segment."""

    stage: StageSpec

    @property
    def n_segments(self) -> int:
        """As many as the stage has."""
        return len(self.stage.segments)

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """The inputs, and behind the last segment the outputs."""
        if segment < self.n_segments - 1:
            return tensors
        made = {spec.name: zeros_of(spec, 1) for spec in self.stage.computed}
        return made | {spec.name: tensors[spec.name] for spec in self.stage.forwarded}


@final
class HeldSegments:
    """Another runner, each segment no faster than the table says for one sample."""

    def __init__(self, inner: SegmentRunner, segments: tuple[SegmentSpec, ...]) -> None:
        self._inner = inner
        self._held_us = [segment.latency_us for segment in segments]
        self._clock = MonotonicClock()

    @property
    def n_segments(self) -> int:
        """As many as the other has."""
        return self._inner.n_segments

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """The other's outputs, after the table's time."""
        until_us = self._clock.now_us() + self._held_us[segment]
        outputs = self._inner.run(segment, tensors)
        hold_until(self._clock, until_us)
        return outputs
