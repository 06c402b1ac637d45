"""A model loaded for a device with streams: a pool of copies, each a chain of graphs on buffers of its own.

A copy serves one job at a time, from its first segment to its last: a job that waits between two segments
keeps its intermediate result in the copy's buffers. So copies bound how many jobs of the model are begun.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, final

from penstock.errors import BadInputError
from penstock.serve.scheduled.streams import Segment, Streams


@dataclass(eq=False, slots=True)
class Copy:
    """Buffers and graphs for one job. ``done[k]`` is the event after segment k."""

    input: Any
    graphs: list[Any]
    output: Any
    done: list[Any]


@final
class GraphedModel:
    """``segments`` in ``copies`` copies; ``new_input`` makes an input buffer for each."""

    def __init__(
        self,
        device: Streams,
        name: str,
        segments: Sequence[Segment],
        new_input: Callable[[int], Any],
        copies: int,
        priority: int = 0,
    ) -> None:
        if not segments or copies < 1:
            raise BadInputError(
                f"model {name!r}: {len(segments)} segments in {copies} copies, but both must be >= 1. Raise them."
            )
        self.name = name
        self._device = device
        self._segments = segments
        stream = device.streams(1, priority)[0]
        self._warm_up(new_input(0))
        self.copies = [self._copy(new_input(number), stream) for number in range(copies)]
        # The inputs were written on another stream than those that will read them.
        device.wait()

    @property
    def n_segments(self) -> int:
        """How many launches a job takes."""
        return len(self._segments)

    def _warm_up(self, tensor: Any) -> None:
        for segment in self._segments:
            tensor = self._device.warm_up(segment, tensor)

    def _copy(self, tensor: Any, stream: Any) -> Copy:
        graphs, buffer, pool = [], tensor, self._device.pool()
        for segment in self._segments:
            graph, buffer = self._device.capture(segment, buffer, stream, pool)
            graphs.append(graph)
        return Copy(tensor, graphs, buffer, [self._device.event() for _ in graphs])
