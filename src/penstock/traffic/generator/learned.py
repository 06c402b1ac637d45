"""A learned generator: models of hours and classes, sampled together, saved as one bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.generator.bundle import (
    Arrays,
    BundleFile,
    DamagedBundleError,
    PartFacts,
    read_bundle,
    write_bundle,
)
from penstock.traffic.generator.protocol import HEADER_FILE, draw_classes
from penstock.traffic.generator.sampling import Rows, check_seed, in_order, join_rows
from penstock.traffic.streams import Streams


@dataclass(frozen=True)
class Request:
    """Streams to draw: their numbers (int64), their classes (int16), and the seed.

    ``threads`` None: every core. ``batch`` None: the model's own. ``device``: cpu or cuda.
    """

    streams: I64
    klass: NDArray[np.int16]
    seed: int
    window_us: int
    most_events: int
    threads: int | None = None
    batch: int | None = None
    device: str = "cpu"


class PartModel(Protocol):
    """A network that has been trained."""

    def draw(self, request: Request) -> Rows:
        """The streams; ``owner`` counts from 0 within the request. Stream i depends on (seed, i, class) alone."""
        ...

    def arrays(self) -> Arrays:
        """What :class:`Builder` needs to build it again."""
        ...


Builder = Callable[[PartFacts, Arrays, BundleFile], PartModel]


@dataclass(frozen=True)
class Part:
    """One model and its facts."""

    facts: PartFacts
    model: PartModel


@dataclass(frozen=True)
class LearnedGenerator:
    """Implements :class:`penstock.traffic.generator.protocol.Generator`.

    ``threads`` and ``batch`` (streams at a time) change the time that sampling takes, and not the streams. ``scores``
    are those on held-out streams, for the bundle.
    """

    method: str
    events: tuple[str, ...]
    classes: tuple[str, ...]
    window_us: int
    parts: tuple[Part, ...]
    scores: Mapping[str, float] = field(default_factory=dict)
    threads: int | None = None
    batch: int | None = None
    device: str = "cpu"

    @property
    def hours(self) -> tuple[int | None, ...]:
        """The hours that it was fitted on, in order; None if the hour was not said."""
        return tuple(dict.fromkeys(part.facts.hour for part in self.parts))

    def parts_of(self, hour: int | None) -> tuple[Part, ...]:
        """The models of ``hour``; None takes the only one, or the last that was fitted.

        Raises :class:`BadInputError` for an hour that the bundle does not have.
        """
        wanted = self.hours[-1] if hour is None else hour
        found = tuple(part for part in self.parts if part.facts.hour == wanted)
        if not found:
            known = ", ".join("unnamed" if known is None else str(known) for known in self.hours)
            raise BadInputError(
                f"hour {hour} is not in this bundle, which has: {known}. Take one of these, or fine-tune: "
                f"penstock traffic fit TRACE --hour {hour} --from BUNDLE."
            )
        return found

    def shares(self, hour: int | None = None) -> dict[str, float]:
        """The classes of ``hour`` with their shares of the trace."""
        parts = self.parts_of(hour)
        return {
            name: sum(part.facts.shares[code] for part in parts if code in part.facts.serves)
            for code, name in enumerate(self.classes)
        }

    def events_per_stream(self, mix: Mapping[str, float] | None = None, hour: int | None = None) -> float:
        """The mean of the trace under ``mix``."""
        weights = dict(mix) if mix is not None else self.shares(hour)
        means = {
            self.classes[code]: part.facts.events_per_stream[code]
            for part in self.parts_of(hour)
            for code in part.facts.serves
        }
        total = sum(weights.values())
        return sum(weight * means.get(name, 0.0) for name, weight in weights.items()) / total

    def sample(
        self, streams: int, seed: int, *, mix: Mapping[str, float] | None = None, hour: int | None = None
    ) -> Streams:
        """As :meth:`penstock.traffic.generator.protocol.Generator.sample`, of one ``hour``."""
        check_seed(seed)
        klass = draw_classes(self.shares(hour), mix, streams, seed)
        found, served = [], np.zeros(streams, bool)
        for part in self.parts_of(hour):
            chosen = np.flatnonzero(np.isin(klass, part.facts.serves) & ~served)
            served[chosen] = True
            if len(chosen):
                request = Request(
                    chosen,
                    klass[chosen],
                    seed,
                    self.window_us,
                    part.facts.most_events,
                    self.threads,
                    self.batch,
                    self.device,
                )
                rows = part.model.draw(request)
                found.append(Rows(chosen[rows.owner], rows.event, rows.time_us, rows.cut))
        if not served.all():
            missing = self.classes[int(klass[np.argmin(served)])]
            raise BadInputError(
                f"class {missing!r} had no streams in the trace, so no model of it was fitted."
            )
        event, time_us, first = in_order(join_rows(found), streams)
        return Streams(event, time_us, first, klass, self.events, self.classes, self.window_us)

    def save(self, folder: Path) -> None:
        """Write the bundle."""
        arrays = {
            f"{number}.{name}": array
            for number, part in enumerate(self.parts)
            for name, array in part.model.arrays().items()
        }
        write_bundle(
            folder,
            method=self.method,
            window_us=self.window_us,
            events=self.events,
            classes=self.classes,
            parts=[part.facts for part in self.parts],
            scores=self.scores,
            arrays=arrays,
        )


def load_learned(folder: Path, method: str, build: Builder) -> LearnedGenerator:
    """The generator in ``folder``. Raises :class:`DamagedBundleError` with the file and the reason."""
    header, arrays = read_bundle(folder)
    if header.method != method:
        raise DamagedBundleError(folder / HEADER_FILE, f"method (={header.method!r:.40}) must be {method!r}.")
    parts = []
    for number, facts in enumerate(header.parts):
        own = {
            name.partition(".")[2]: array for name, array in arrays.items() if name.startswith(f"{number}.")
        }
        try:
            parts.append(Part(facts, build(facts, own, header)))
        except BadInputError as error:
            raise DamagedBundleError(folder, f"part {number}: {error}") from None
    return LearnedGenerator(
        method, tuple(header.events), tuple(header.classes), header.window_us, tuple(parts), header.scores
    )


def with_part(parts: Sequence[Part], new: Sequence[Part]) -> tuple[Part, ...]:
    """``parts`` without those of the hours of ``new``, and ``new``."""
    hours = {part.facts.hour for part in new}
    return (*(part for part in parts if part.facts.hour not in hours), *new)
