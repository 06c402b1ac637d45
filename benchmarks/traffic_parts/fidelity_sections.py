"""Sections that score generators: two real samples, the default by its share of the budget, and the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from penstock.traffic.fidelity import score_streams
from penstock.traffic.fidelity.memorisation import TELLING, whole_copies
from penstock.traffic.generator.grammar import free_grammar, machine_grammar
from penstock.traffic.machine import find_violations
from penstock.traffic.truth import simulate_truth
from traffic_parts.traffic_bench import HOUR, Bench

CHANCE_SAMPLES = 20


def truth(bench: Bench) -> dict[str, Any]:
    """What two real samples differ by."""
    scores = score_streams(bench.held_out, bench.held_out, training=bench.training, machine=bench.machine)
    measured = {name: scores[name].truth for name in scores.names()}
    print(f"{len(bench.training):,} streams, {bench.training.n_events / len(bench.training):.1f} events each")
    return {"measures": measured}


def chance(bench: Bench) -> dict[str, Any]:
    """How many streams of further real samples are a stream of the training sample: nobody copied them."""
    counts = []
    for seed in range(100, 100 + CHANCE_SAMPLES):
        other = simulate_truth("lte", bench.options.streams, "phone", HOUR, seed=seed)
        counts.append([whole_copies(other, bench.training, fewest=fewest) for fewest in (2, TELLING)])
    all_lengths, telling = ([count[at] for count in counts] for at in (0, 1))
    print(f"real streams that are a training stream, in {CHANCE_SAMPLES} further real samples: {all_lengths}")
    print(f"  of {TELLING} events or more: {telling}")
    return {
        "copied": all_lengths,
        "copied_telling": telling,
        "most_share": max(all_lengths) / bench.options.streams,
        "most_telling_share": max(telling) / bench.options.streams,
    }


def default(share: float) -> Callable[[Bench], dict[str, Any]]:
    """The default generator with ``share`` of the budget; with all of it also freely and with the machine."""

    def run(bench: Bench) -> dict[str, Any]:
        generator = bench.fit("gru", bench.options.budget * share)
        training = generator.parts[0].facts.training
        found: dict[str, Any] = {
            "seconds": training.seconds,
            "steps": training.steps,
            "kept_steps": training.kept.steps,
            "nats": training.kept.nats,
            "held_out_curve": held_out_curve(generator),
            "measures": bench.score(bench.draw(generator)),
        }
        if share == 1.0:
            bench.keep("gru", generator)
            found["free"] = _violations(bench, _with_grammar(bench, generator, "free"))
            found["machine"] = _violations(bench, _with_grammar(bench, generator, "machine"))
        return found

    return run


def _with_grammar(bench: Bench, generator: Any, kind: str) -> Any:
    events = generator.events
    grammar = free_grammar(len(events)) if kind == "free" else machine_grammar(bench.machine, events)
    parts = tuple(replace(part, model=replace(part.model, grammar=grammar)) for part in generator.parts)
    return replace(generator, parts=parts)


def _violations(bench: Bench, generator: Any) -> dict[str, float]:
    found = find_violations(bench.draw(generator), bench.machine)
    return {"streams": found.stream_share, "events": found.event_share}


def held_out_curve(generator: Any) -> list[tuple[float, float]]:
    return [(point.seconds, point.nats) for point in generator.parts[0].facts.training.curve]


def other(method: str, **options: Any) -> Callable[[Bench], dict[str, Any]]:
    """Another learned generator with the same budget."""

    def run(bench: Bench) -> dict[str, Any]:
        generator = bench.fit(method, bench.options.budget, **options)
        bench.keep(method, generator)
        training = generator.parts[0].facts.training
        count = min(bench.options.streams, bench.options.slow_streams)
        sample = bench.draw(generator, count)
        return {
            "seconds": training.seconds,
            "steps": training.steps,
            "held_out_curve": held_out_curve(generator),
            "measures": bench.score(sample),
        }

    return run


def smm(groups: int) -> Callable[[Bench], dict[str, Any]]:
    """The semi-Markov model, which is told the machine."""

    def run(bench: Bench) -> dict[str, Any]:
        begin = time.process_time()
        generator = bench.fit("smm", bench.options.budget, machine=bench.machine, groups=groups)
        seconds = time.process_time() - begin
        return {"seconds": seconds, "groups": groups, "measures": bench.score(bench.draw(generator))}

    return run
