"""What a dispatcher needs of a device with streams: graphs to launch, and events that say when they are done.

A *stream* runs what it is given in order; different streams run side by side as far as the device can. A
*graph* is a segment of a model on buffers of its own, so one graph cannot overlap itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Segment = Callable[[Any], Any]
"""A part of a model: from its input tensor to its output tensor, without other effects."""


class Streams(Protocol):
    """One device. Streams, graphs, events and tensors are opaque to the caller."""

    def streams(self, count: int, priority: int = 0) -> Sequence[Any]:
        """``count`` streams; a lower ``priority`` runs first."""
        ...

    @property
    def highest_priority(self) -> int:
        """The priority that goes before all others."""
        ...

    def warm_up(self, segment: Segment, tensor: Any) -> Any:
        """Run ``segment`` a few times outside any graph; its output. Libraries choose their kernels here."""
        ...

    def pool(self) -> Any:
        """Memory for the graphs of one copy, which never run at the same time."""
        ...

    def capture(self, segment: Segment, tensor: Any, stream: Any, pool: Any) -> tuple[Any, Any]:
        """The graph of ``segment`` on the buffer ``tensor``, and the buffer of its output."""
        ...

    def launch(self, graph: Any, stream: Any) -> None:
        """Put ``graph`` at the end of ``stream``."""
        ...

    def event(self) -> Any:
        """A new event. ``query()`` says whether it was reached, ``synchronize()`` waits for it."""
        ...

    def mark(self, event: Any, stream: Any) -> None:
        """``event`` is reached when all that ``stream`` now holds is done."""
        ...

    def end_us(self, reference: Any, event: Any) -> float:
        """When ``event`` was reached, on the host's clock, from a :meth:`reference` taken before."""
        ...

    def reference(self) -> Any:
        """A moment that both the device's and the host's clock know."""
        ...

    def wait(self) -> None:
        """Until the device is idle."""
        ...
