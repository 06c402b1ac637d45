"""A model in segments on onnxruntime: one session a segment, and the tensors that pass between them.

Cuts are measured with the code that serves them: both use this module. A session may be called by several threads at
once, so one copy of the weights serves all of a device's threads. A tensor that crosses a cut is passed by reference,
and released as soon as no later segment needs it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import OnnxModel
from penstock.graph.split import save_submodel, split
from penstock.profile.measuring.session import open_session
from penstock.runtime.strings import bytes_of, text_of

Tensors = Mapping[str, NDArray[Any]]

RunSegment = Callable[[Tensors], Tensors]
"""From the tensors that cross a segment's start (it may ignore some) to those that it computes."""


@final
@dataclass(frozen=True)
class SegmentedModel:
    """``segments`` in order; ``forwarded[k]``: the inputs of segment k that are still needed behind it."""

    segments: Sequence[RunSegment]
    forwarded: Sequence[frozenset[str]]

    def __post_init__(self) -> None:
        """Refuse a model without segments, or with another number of forwarded sets."""
        if not self.segments or len(self.segments) != len(self.forwarded):
            raise BadInputError(
                f"{len(self.segments)} segments with {len(self.forwarded)} sets of forwarded tensors: give at least "
                f"one segment, and one set for each."
            )

    @property
    def n_segments(self) -> int:
        """How many releases a job takes."""
        return len(self.segments)

    def run(self, segment: int, tensors: Tensors) -> Tensors:
        """What crosses the end of ``segment``."""
        passed = {name: array for name, array in tensors.items() if name in self.forwarded[segment]}
        return {**passed, **self.segments[segment](tensors)}


def session_segment(session: Any, outputs: Sequence[str]) -> RunSegment:
    """A segment that an onnxruntime session computes; ``outputs`` are all of the session's."""
    texts = {node.name: "string" in node.type for node in (*session.get_inputs(), *session.get_outputs())}
    inputs = [node.name for node in session.get_inputs()]
    names = list(outputs)

    def run(tensors: Mapping[str, Any]) -> Tensors:
        feeds = {name: text_of(name, tensors[name]) if texts[name] else tensors[name] for name in inputs}
        made = zip(names, session.run(names, feeds), strict=True)
        return {name: bytes_of(array) if texts[name] else array for name, array in made}

    return run


def split_model(
    model: OnnxModel, boundaries: Sequence[int], folder: Path, threads: int = 1
) -> SegmentedModel:
    """``model`` cut at ``boundaries``, operators from 0 to all; the segments' files are written to ``folder``."""
    segments, forwarded = [], []
    for number, part in enumerate(split(model, boundaries)):
        path = folder / f"segment{number}-of-{len(boundaries) - 1}.onnx"
        save_submodel(part, path)
        segments.append(session_segment(open_session(path, threads), part.computed))
        forwarded.append(frozenset(part.forwarded))
    return SegmentedModel(segments, forwarded)
