"""A recorded trace whose rows name models: each model of a plan gets its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from penstock.arrays import I64
from penstock.errors import BadInputError
from penstock.traffic.arrivals import Arrivals, ArrivalSource, merged_arrivals
from penstock.traffic.processes.replay import TraceReplay
from penstock.traffic.trace import Labels, Trace
from penstock.units import US_PER_S


@dataclass(frozen=True)
class RoutedTrace:
    """An arrival source: each model gets the rows of its own part of ``whole``; None if it has none.

    All windows begin at the same place of the recording, so that models rise and fall together as they did. If the
    load is scaled by superposition, the other copies begin anywhere.
    """

    whole: TraceReplay
    parts: tuple[TraceReplay | None, ...]

    def draw(self, rates_rps: Sequence[float], seconds: float, rng: np.random.Generator) -> Arrivals:
        """As :meth:`penstock.traffic.arrivals.ArrivalSource.draw`."""
        place_s = self.whole.start_s
        if place_s is None and self.whole.scale != "none":
            place_s = int(rng.integers(self.whole.trace.period_us)) / US_PER_S
        times: list[I64] = [
            np.zeros(0, np.int64)
            if part is None
            else replace(part, start_s=place_s)(rate_rps, seconds, numbers)
            for part, rate_rps, numbers in zip(self.parts, rates_rps, rng.spawn(len(self.parts)), strict=True)
        ]
        return merged_arrivals(times)

    def streams_for(self, rates_rps: Sequence[float]) -> float:
        """0: the streams are not counted."""
        return 0.0

    def own_rate_rps(self) -> float | None:
        """The recording's rate if it is not scaled."""
        return self.whole.trace.rate_rps if self.whole.scale == "none" else None

    @property
    def recorded_s(self) -> float | None:
        """How long the recording lasts from its start, if it is not scaled."""
        return self.whole.recorded_s


def routed(replay: TraceReplay, models: Sequence[str]) -> TraceReplay | ArrivalSource:
    """``replay`` with its rows routed to ``models``, or as it is if every model gets all rows.

    Rows are routed if the trace has a column ``model`` (or ``type``) that names one of ``models``, or if
    ``models=column`` asks for it. Raises :class:`BadInputError` for rows of a model that is not asked for, for a model
    without rows, and for a recording that is not scaled and does not say which of several models its rows are for.
    """
    types = replay.trace.type_
    names = set() if types is None else set(types.names)
    if replay.route == "all" or (replay.route is None and not names & set(models)):
        if replay.scale != "none":
            return replay
        if len(models) > 1:
            raise BadInputError(
                f"{replay.name}: a recording that is not scaled must say which model each row is for. Name the models "
                f"{', '.join(models)} in a column 'model', or give it to one: --arrivals {models[0]}=trace:..."
            )
        return RoutedTrace(replay, (replay,))
    if types is None:
        raise BadInputError(f"{replay.name}: models=column needs a column 'model'. Add one, or leave it out.")
    unknown = [name for name in types.names if name not in models]
    if unknown:
        raise BadInputError(
            f"{replay.name}: its column 'model' names {unknown[0]!r}, but the models are {', '.join(models)}. Correct "
            f"or remove such rows, or write models=all, with which every model gets all rows."
        )
    without = [name for name in models if name not in names]
    if without and replay.scale != "none":
        raise BadInputError(
            f"{replay.name}: no row names the model {without[0]!r}, so its load is unknown. Add rows, or write "
            f"models=all, with which every model gets all rows."
        )
    parts = (
        replace(replay, trace=_rows_of(replay.trace, types, name)) if name in names else None
        for name in models
    )
    return RoutedTrace(replay, tuple(parts))


def _rows_of(trace: Trace, types: Labels, name: str) -> Trace:
    """The rows of one model, on the circle of the whole trace."""
    kept = types.codes == types.names.index(name)

    def part(labels: Labels | None) -> Labels | None:
        return None if labels is None else Labels(labels.codes[kept], labels.names)

    return Trace(
        trace.time_us[kept], trace.period_us, part(trace.stream), part(trace.class_), part(trace.type_)
    )
