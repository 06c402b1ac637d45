"""Arrivals for the models of a plan: one process for all, one for each, or the rows of a trace that name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from penstock.errors import BadInputError
from penstock.traffic.arrivals import ArrivalProcess, Arrivals, ArrivalSource, merged_arrivals
from penstock.traffic.known import KNOWN
from penstock.traffic.processes.replay import TraceReplay
from penstock.traffic.routed_trace import RoutedTrace, routed
from penstock.traffic.spec import parse_arrivals
from penstock.traffic.suggest import suggest

AnyArrivals = ArrivalProcess | ArrivalSource


@dataclass(frozen=True)
class ByModel:
    """An arrival source with a process for each model, in the models' order."""

    processes: tuple[ArrivalProcess, ...]

    def draw(self, rates_rps: Sequence[float], seconds: float, rng: np.random.Generator) -> Arrivals:
        """Arrivals of every model by its own process and random numbers. At equal times the lower model is first."""
        return merged_arrivals(
            [
                process(rate, seconds, own)
                for process, rate, own in zip(
                    self.processes, rates_rps, rng.spawn(len(rates_rps)), strict=True
                )
            ]
        )

    def streams_for(self, rates_rps: Sequence[float]) -> float:
        """0: it does not consist of streams."""
        return 0.0

    def own_rate_rps(self) -> float | None:
        """The rate of the recordings that are not scaled, if there are any."""
        own = [one.trace.rate_rps for one in self._recordings()]
        return sum(own) if own else None

    @property
    def recorded_s(self) -> float | None:
        """The time of the shortest recording that is not scaled, if there is one."""
        lengths = [one.recorded_s for one in self._recordings() if one.recorded_s is not None]
        return min(lengths, default=None)

    def _recordings(self) -> list[TraceReplay]:
        return [one for one in self.processes if isinstance(one, TraceReplay) and one.scale == "none"]


def parse_by_model(
    specs: str | Sequence[str], models: Sequence[str], base: Path | None = None
) -> AnyArrivals:
    """The arrivals of all ``models``, from ``SPEC`` and ``MODEL=SPEC``.

    A spec without a model is for those that have none of their own (default: poisson). If it is a trace whose rows name
    models, each model gets its own rows. A relative file starts from ``base``. Raises :class:`BadInputError` for two
    specs of one model, for an unknown model or process, for a process that draws several models together beside others,
    and for a trace that does not fit the models.
    """
    own: dict[str, str] = {}
    rest: list[str] = []
    for text in [specs] if isinstance(specs, str) else specs:
        name, equals, spec = text.partition("=")
        if not (equals and name in models):
            if _process_of(text) not in KNOWN and _process_of(spec) in KNOWN:
                raise BadInputError(f"--arrivals {text}: no model is named {name!r}. {suggest(name, models)}")
            rest.append(text)
        elif name in own:
            raise BadInputError(f"--arrivals {name} is given twice: {own[name]} and {spec}. Keep one.")
        else:
            own[name] = spec
    if len(rest) > 1:
        raise BadInputError(
            f"--arrivals {rest[0]} and {rest[1]}: give one for all models, or MODEL=SPEC for one of "
            f"{', '.join(models)}."
        )
    default = rest[0] if rest else "poisson"
    if not own:
        process = parse_arrivals(default, base)
        return routed(process, models) if isinstance(process, TraceReplay) else process
    by_model = {name: own.get(name, default) for name in models}
    made = {spec: parse_arrivals(spec, base) for spec in dict.fromkeys(by_model.values())}
    processes = []
    for name, spec in by_model.items():
        process = made[spec]
        if isinstance(process, ArrivalSource):
            raise BadInputError(
                f"--arrivals {name}={spec}: draws all models together. Give it alone, without a model."
            )
        processes.append(process)
    return ByModel(tuple(processes))


def _process_of(spec: str) -> str:
    return spec.partition(":")[0]


def as_recorded(specs: Sequence[str]) -> list[str]:
    """``specs`` with ``scale=none`` for each trace: its own times and rate.

    Raises :class:`BadInputError` unless one of them is a trace, and for a trace that states another scale.
    """
    found = []
    for spec in specs:
        is_trace = spec.startswith("trace:") or "=trace:" in spec
        if is_trace and ",scale=" in spec:
            raise BadInputError(f"--as-recorded and {spec!r} are two ways to scale: leave one out.")
        found.append(f"{spec},scale=none" if is_trace else spec)
    if found == list(specs):
        raise BadInputError("--as-recorded needs a recording: add --arrivals trace:FILE.")
    return found


def recorded_s(process: AnyArrivals) -> float | None:
    """How many seconds a recording lasts that is not scaled; None for other arrivals."""
    return process.recorded_s if isinstance(process, TraceReplay | RoutedTrace | ByModel) else None
