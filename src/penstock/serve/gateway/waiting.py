"""An admitted request while it is not answered: where its samples are, and what came back of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from penstock.record import Outcome
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import Tensor

Outputs = tuple[Tensor, ...]

MOST_RUNS = 3
"""A request whose batch was lost so often is answered with the error. It may be what kills the workers: so the last
time it runs alone."""
RETRY_AFTER_S = 1
"""When a client may try again: by then a restarted worker is up."""


class Place(NamedTuple):
    """Where a unit is or was last: ``batch`` is -1 while it waits."""

    epoch: int
    pipeline: int
    batch: int


@dataclass(eq=False, slots=True)
class Waiting:
    """An admitted request.

    ``settle`` gets its outputs or an error, once. ``model`` is that of ``epoch``. ``shared`` is the value of its
    inputs without a batch. ``places``: of each unit, None before its first batch and again when that was lost.
    ``missing``: units whose outputs are not in ``pieces`` yet, which is by the offset of their first sample.
    ``losses``: how often batches of it were lost; ``failure``: the last reason; ``is_suspect``: one of them failed, so
    this request may be to blame; ``left_us``: when its client left, -1 if it is there; ``trace``: its span, if any.
    ``problem_of`` says why outputs cannot be sent in the form that the client asks for; then they count as an error.
    ``doubt``: what the client should know of the model's latencies if the request is dropped.
    """

    model: int
    inputs: Mapping[str, Tensor]
    first: int
    samples: int
    arrival_us: int
    deadline_us: int
    settle: Callable[[Outputs | ProtocolError], None]
    shared: bytes = b""
    problem_of: Callable[[Outputs], ProtocolError | None] = lambda outputs: None
    epoch: int = 0
    doubt: str = ""
    places: list[Place | None] = field(init=False)
    outcome: Outcome | None = None
    dispatched_us: int = -1
    compute_us: int = 0
    losses: int = 0
    failure: str | None = None
    is_suspect: bool = False
    left_us: int = -1
    trace: Any = None
    missing: int = field(init=False)
    pieces: dict[int, list[Tensor]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.places = [None] * self.samples
        self.missing = self.samples

    @property
    def is_settled(self) -> bool:
        """Whether the answer is given; units of it may still be on their way."""
        return self.outcome is not None

    @property
    def is_abandoned(self) -> bool:
        """Whether its client has gone."""
        return self.left_us >= 0

    @property
    def has_result(self) -> bool:
        """Whether the answer was a result, in time or late."""
        return self.outcome in (Outcome.MET, Outcome.LATE)

    @property
    def runs_alone(self) -> bool:
        """Whether its next batch may hold no other request."""
        return self.is_suspect or self.losses >= MOST_RUNS - 1

    def queued(self) -> list[int]:
        """The offsets of the units that wait."""
        return [offset for offset, place in enumerate(self.places) if place is None]


@dataclass(frozen=True, slots=True)
class Run:
    """Rows of a batch that are consecutive samples of one request."""

    request: Waiting
    offset: int
    rows: int
