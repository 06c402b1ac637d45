"""Generators on public traces: NGAPAD's message log of 5G testbeds, and the sessions of Mooncake.

    python benchmarks/traffic_real.py [--methods smm,plain,gru] [--minutes 2]

Needs ../shared/data/traces. NGAPAD is the first messages of contexts of nine testbeds: it tries loader, machine and
generators, and is no evidence of how users behave. Mooncake's sessions are rebuilt from the prefixes that requests
share; its clock steps by three seconds, so gaps below that say nothing. Four fifths of the streams are fitted on,
one fifth is held out.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from penstock.traffic.fidelity import score_streams
from penstock.traffic.formats.mooncake_sessions import load_sessions
from penstock.traffic.formats.ngapad import load_contexts
from penstock.traffic.generator.protocol import FitOptions, fit_generator
from penstock.traffic.machine import Machine, find_violations, known_machine
from penstock.traffic.streams import Streams, split_streams

TRACES = Path(__file__).resolve().parents[2] / "shared/data/traces"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--methods", default="smm,plain,replay")
    arguments.add_argument("--minutes", type=float, default=2.0, help="CPU minutes of a trained method")
    given = arguments.parse_args()
    if not TRACES.is_dir():
        print(f"{TRACES}: no reference data, nothing to measure.")
        return
    contexts = load_contexts(TRACES / "ngapad/slice_18_normal_full.csv")
    print(
        f"NGAPAD: {len(contexts.streams):,} contexts; left out {contexts.without_times} with a message without a "
        f"time and {contexts.repeated} repeats"
    )
    ngap = known_machine("ngap")
    found = find_violations(contexts.streams, ngap)
    print(
        f"  machine ngap: {found.stream_share:.2%} of the recorded streams break it; most often {found.top[:3]}"
    )
    document = {"ngapad": measure("NGAPAD", contexts.streams, ngap, given)}
    sessions = load_sessions(TRACES / "mooncake/conversation_trace.jsonl")
    print(f"Mooncake: {sessions.n_events:,} requests in {len(sessions):,} sessions")
    document["mooncake"] = measure("Mooncake", sessions, None, given)
    print(json.dumps(document))


def measure(
    name: str, streams: Streams, machine: Machine | None, given: argparse.Namespace
) -> dict[str, Any]:
    training, held_out = split_streams(streams, 0.8, seed=0)
    scores = {}
    for method in given.methods.split(","):
        if method == "smm" and machine is None:
            continue  # it needs a machine, and a chain of turns has none
        begin = time.process_time()
        options = FitOptions(cpu_seconds=60 * given.minutes, machine=machine if method == "smm" else None)
        generator = fit_generator(method, training, seed=0, options=options)
        cpu_s = time.process_time() - begin
        scores[method] = score_streams(
            generator.sample(len(held_out) * 2, seed=1), held_out, training=training, machine=machine
        )
        print(f"  {name}: {method} fitted in {cpu_s:.1f} CPU s", flush=True)
    if not scores:
        return {}
    first = next(iter(scores.values()))
    print(f"  {'measure':32} {'real':>8} " + " ".join(f"{method:>8}" for method in scores))
    for row in first.names():
        cells = " ".join(_cell(one[row].value) for one in scores.values())
        print(f"  {row:32} {_cell(first[row].truth)} {cells}")
    return {
        method: {m.name: {"value": m.value, "real": m.truth} for m in one.measures}
        for method, one in scores.items()
    }


def _cell(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>8}"


if __name__ == "__main__":
    main()
