"""The loads of ``penstock traffic trial``: the real one, and those that are compared with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.cli.common.output import note

if TYPE_CHECKING:
    from penstock.simulate.decisive.aggregate_loads import MakeTrace
    from penstock.simulate.decisive.contestants import Contestant
    from penstock.traffic.generator.protocol import Generator
    from penstock.traffic.machine import Machine
    from penstock.traffic.streams import Streams

TRAINING_WORLD = 500
"""Far from the test's hours, which are numbered from 0, and from those of the other real sample, from 100."""
OTHER_WORLD = 100


class Wanted:
    """What to generate, from the options."""

    def __init__(
        self,
        bundles: tuple[str, ...],
        methods: tuple[str, ...],
        mix_text: str,
        hour: int,
        streams: int,
        minutes: float | None,
        machine: Machine | None = None,
    ) -> None:
        from penstock.errors import BadInputError
        from penstock.traffic.source.superposed import parse_mix

        self.mix: Mapping[str, float] = parse_mix(mix_text)
        self.hour, self.streams, self.minutes, self.methods = hour, streams, minutes, methods
        self.machine = machine
        self.bundles: dict[str, Path] = {}
        for bundle in bundles:
            name, equals, path = bundle.partition("=")
            if not equals:
                name, path = Path(bundle).name, bundle
            if name in self.bundles:
                raise BadInputError(
                    f"--load {bundle}: two loads are called {name!r}. Name them: NAME=BUNDLE."
                )
            self.bundles[name] = Path(path)


def contestants_of(
    real_path: Path | None, wanted: Wanted
) -> tuple[str, list[tuple[Contestant, list[Contestant]]]]:
    """Which part of the test it is, and the real load with the loads to compare: once, or once for each fold."""
    from penstock.simulate.decisive import aggregate_loads, session_loads
    from penstock.traffic.load import load_trace
    from penstock.traffic.streams.load_streams import has_streams, load_streams
    from penstock.traffic.truth.truth_generator import TruthGenerator

    if real_path is not None and not has_streams(real_path):
        _refuse_streams(real_path, wanted)
        trace = load_trace(real_path)
        generated_traces = {"renewal of its gaps": aggregate_loads.renewal_trace, **_of_windows(wanted)}
        folds = [aggregate_loads.aggregate_contestants(trace, generated_traces, fold) for fold in (0, 1)]
        return "b", [(real, [*others, *session_loads.plain_loads()]) for real, others in folds]
    if real_path is None:
        truth = TruthGenerator("serving", wanted.mix, wanted.hour)
        real = session_loads.simulated_hours("real (simulated)", "real", truth)
        other = session_loads.simulated_hours("other real sample", "other real", _world(truth, OTHER_WORLD))
        training = _world(truth, TRAINING_WORLD).sample(wanted.streams, 0) if wanted.methods else None
    else:
        streams = load_streams(real_path)
        real, other = session_loads.recorded_halves(streams, seed=0)
        training = session_loads.second_half(streams, seed=0)
    generators = _generators(wanted, training, _machine(real_path, wanted))
    generated = [session_loads.generated(name, generator) for name, generator in generators.items()]
    return "a", [(real, [other, *generated, *session_loads.plain_loads()])]


def _world(truth: Any, number: int) -> Any:
    import dataclasses

    return dataclasses.replace(truth, world=number)


def _refuse_streams(path: Path, wanted: Wanted) -> None:
    from penstock.errors import BadInputError

    if wanted.bundles:
        raise BadInputError(
            f"{path}: names no streams, so no generator of streams can meet it: leave out --load. With --method, "
            f"windows of the trace are learned; a renewal of its gaps is in the test in any case."
        )
    if wanted.machine is not None:
        raise BadInputError(
            f"{path}: names no streams, so no state machine can be theirs. Leave out --machine."
        )


def _of_windows(wanted: Wanted) -> dict[str, MakeTrace]:
    """What each --method makes from a trace without streams."""
    from functools import partial

    from penstock.simulate.decisive.windowed_trace import windowed_trace

    return {
        f"{method}, by the minute": windowed_trace(partial(_fitted, wanted, method, None))
        for method in wanted.methods
    }


def _machine(real_path: Path | None, wanted: Wanted) -> Machine | None:
    """That of the events: the serving machine if sessions are simulated, else the one that is named."""
    from penstock.errors import BadInputError
    from penstock.traffic.machine import known_machine

    if real_path is not None:
        return wanted.machine
    if wanted.machine is not None:
        raise BadInputError(
            "--machine is that of the streams in --real; simulated sessions have their own. Leave it out."
        )
    return known_machine("serving")


def _fitted(wanted: Wanted, method: str, machine: Machine | None, training: Streams) -> Generator:
    from penstock.traffic.generator.protocol import WITH_MACHINE, FitOptions, fit_generator

    machine = machine if method in WITH_MACHINE else None
    note(f"{method}: fitting on {len(training):,} streams")
    cpu_seconds = None if wanted.minutes is None else 60 * wanted.minutes
    options = FitOptions(cpu_seconds=cpu_seconds, machine=machine, hour=wanted.hour)
    return fit_generator(method, training, seed=0, options=options)


def _generators(wanted: Wanted, training: Streams | None, machine: Machine | None) -> dict[str, Generator]:
    from penstock.traffic.generator.protocol import load_generator

    made: dict[str, Generator] = {name: load_generator(path) for name, path in wanted.bundles.items()}
    for method in wanted.methods:
        assert training is not None
        made[method] = _fitted(wanted, method, machine, training)
    return made
