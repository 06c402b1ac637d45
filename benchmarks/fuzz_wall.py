"""Fuzz what reaches the kernels: calls of policies, journals, dispatch tables, messages between processes, arrivals.

Kernels read memory by address, so a wrong index that reaches them ends the process or never returns. Each round runs in
a process of its own, with a time limit. It counts what was accepted and what was refused with ``BadInputError``; any
other exception, a death by signal and a round past its limit are failures. Prints the counts; exit status 1 after a
failure. ``python benchmarks/fuzz_wall.py [CALLS] [SEED]``, 100,000 calls if not given.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from penstock.errors import BadInputError
from penstock.schedule.journal import replay
from penstock.schedule.routed_policy import ReservationPolicy
from penstock.schedule.rule_numbers import RULES
from penstock.schedule.table import DispatchTable
from penstock.serve.dispatcher.dispatcher import Dispatcher
from penstock.serve.dispatcher.served_plan import ServedPlan
from penstock.serve.messages import Arrive, Cancel, Pong, StageDone, StageDropped, StageFailed, ToDispatcher
from penstock.serve.transport import decoded
from penstock.simulate.every_policy import POLICIES, simulate_policy
from penstock.traffic.arrivals import Arrivals
from penstock.units import LATEST_US, NEVER_US

CALLS = 100_000
CALLS_A_ROUND = 5_000
LIMIT_S = 600.0

ODD = [
    *(
        -1,
        0,
        1,
        2,
        3,
        7,
        63,
        64,
        255,
        256,
        257,
        1 << 20,
        LATEST_US,
        LATEST_US + 1,
        NEVER_US,
        NEVER_US - 1,
        NEVER_US + 1,
    ),
    *(-NEVER_US, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 2**64 - 1, 10**30, -(10**30), 10**5000),
    *(True, False, None, 0.0, 1.5, float("nan"), float("inf"), "", "0", b"1", (), [], [1], {}, object()),
    *(np.int64(1), np.int64(-1), np.int32(1), np.uint64(2**64 - 1), np.float64(1.0), np.bool_(True)),
    *(np.array(1), np.array([1]), np.zeros((2, 2)), 1j),
]

ARGUMENTS = {
    "arrive": ("time", "model", "request", "time"),
    "decide": ("time",),
    "complete": ("time", "batch", "stage"),
    "abandon": ("time", "batch"),
    "cancel": ("request",),
    "worker_down": ("time", "worker"),
    "worker_up": ("time", "worker"),
}


MOST = {"model": 2, "request": 300, "batch": 60, "stage": 3, "worker": 12, "epoch": 1, "dispatcher": 0}
"""The largest likely value of each kind."""


def some_table(rng: random.Random) -> DispatchTable:
    """A sound table: up to 2 models of 2 pipelines of 3 stages of 3 workers, at times with shared pools."""
    pipelines = [rng.randint(1, 2) for _ in range(rng.randint(1, 2))]
    stages = [rng.randint(1, 3) for _ in range(sum(pipelines))]
    workers = [rng.randint(1, 3) for _ in range(sum(stages))]
    shape = (sum(stages), 5)
    latency = np.array([[rng.randint(1, 60) for _ in range(shape[1])] for _ in range(shape[0])])
    pools = [rng.randint(0, shape[0]) for _ in range(shape[0])] if rng.random() < 0.3 else []
    return DispatchTable(
        slo_us=np.array([rng.randint(50, 600) for _ in pipelines]),
        pipeline_offsets=np.cumsum([0, *pipelines]),
        stage_offsets=np.cumsum([0, *stages]),
        worker_offsets=np.cumsum([0, *workers]),
        pipeline_batch=np.array([rng.randint(1, 4) for _ in stages]),
        latency_us=latency,
        p99_us=latency + rng.randint(0, 9),
        transfer_us=np.array([[rng.randint(0, 20) for _ in range(shape[1])] for _ in range(shape[0])]),
        worker_host=np.array([rng.randint(0, 3) for _ in range(sum(workers))]),
        worker_device=np.arange(sum(workers)),
        stage_pool=np.array(pools, np.int64),
    )


def value(rng: random.Random, kind: str, now_us: int) -> Any:
    """Mostly a value that is likely right, else one of the odd ones or any integer."""
    if rng.random() < 0.15:
        return rng.choice(ODD)
    if rng.random() < 0.05:
        return rng.getrandbits(70) - 2**69
    if kind == "time":
        return now_us + rng.randint(0, 400)
    return rng.randint(0, MOST[kind])


def some_call(rng: random.Random, now_us: int) -> tuple[str, list[Any]]:
    kind = rng.choice(["arrive", "arrive", "decide", "complete", *ARGUMENTS])
    return kind, [value(rng, argument, now_us) for argument in ARGUMENTS[kind]]


def fuzz_calls(rng: random.Random, count: int, outcome: Callable[[Callable[[], Any]], None]) -> None:
    """Calls of one policy, in any order. Accepted times may jump far ahead or back."""
    policy = ReservationPolicy(some_table(rng), rule=rng.choice(list(RULES)))
    for step in range(count):
        kind, arguments = some_call(rng, 5 * step)
        outcome(lambda: getattr(policy, kind)(*arguments))  # noqa: B023
    outcome(lambda: policy.decide(5 * count))


def fuzz_journal(rng: random.Random, count: int, outcome: Callable[[Callable[[], Any]], None]) -> None:
    """Journals of one to ten events, of which some are none."""
    table = some_table(rng)
    for _ in range(count // 5):
        events: list[Any] = []
        for step in range(rng.randint(1, 10)):
            kind, arguments = some_call(rng, 5 * step)
            events.append((kind, *([0] if kind == "cancel" else []), *arguments))
        if rng.random() < 0.3:
            events.insert(
                rng.randint(0, len(events)), rng.choice([*ODD, ("arrive",), ("fly", 0), (["decide"], 0)])
            )
        outcome(lambda: replay(ReservationPolicy(table), events))  # noqa: B023


def damaged(rng: random.Random, table: DispatchTable) -> DispatchTable:
    """``table`` with one array changed in one place, in its shape, in its type, or altogether."""
    name = rng.choice(table._fields)
    array = np.array(getattr(table, name))
    how = rng.randrange(5)
    if how == 0 and array.size:
        array.flat[rng.randrange(array.size)] = rng.choice(
            [-1, 0, 1, 5, 1000, LATEST_US, 2**62, 2**63 - 1, -(2**63), rng.getrandbits(62)]
        )
    elif how == 1:
        array = array[: rng.randint(0, len(array))]
    elif how == 2:
        array = array.astype(rng.choice([np.int32, np.float64, np.uint64, np.bool_, object]))
    elif how == 3:
        array = rng.choice([array[None], array.reshape(-1), array.T, array[::-1], array[..., :0]])
    else:
        return table._replace(**{name: rng.choice(ODD)})
    return table._replace(**{name: array})


def run_a_little(table: DispatchTable, rule: str) -> None:
    policy = ReservationPolicy(table, rule=rule)
    for request in range(4):
        policy.arrive(0, request % table.n_models, request, int(table.slo_us.max()))
    wake_us = policy.decide(0).wake_us
    if wake_us <= LATEST_US:
        policy.decide(wake_us)


def fuzz_tables(rng: random.Random, count: int, outcome: Callable[[Callable[[], Any]], None]) -> None:
    for _ in range(count // 5):
        table, rule = damaged(rng, some_table(rng)), rng.choice(list(RULES))
        outcome(lambda: run_a_little(table, rule))  # noqa: B023


def fuzz_simulations(rng: random.Random, count: int, outcome: Callable[[Callable[[], Any]], None]) -> None:
    """Damaged tables or arrivals in the compiled loops."""
    for _ in range(count // 50):
        table = some_table(rng)
        names = ["m"] * table.n_models
        times = sorted(rng.randint(0, 2000) for _ in range(rng.randint(0, 20)))
        columns: list[Any] = [times, [rng.randint(0, table.n_models - 1) for _ in times], [300] * len(times)]
        if times and rng.random() < 0.6:
            columns[rng.randrange(3)][rng.randrange(len(times))] = rng.choice(
                [-1, 9, LATEST_US, NEVER_US, 2**63 - 1]
            )
        else:
            table = damaged(rng, table)
        policy = rng.choice(POLICIES)

        def simulated() -> None:
            arrays = [np.array(column, np.int64) for column in columns]  # noqa: B023
            simulate_policy(
                table,  # noqa: B023
                Arrivals(*arrays),
                model_names=names,  # noqa: B023
                seed=1,
                noise=True,
                dispatch_us=0,
                overhead_us=0,
                policy=policy,  # noqa: B023
            )

        outcome(simulated)


def fuzz_messages(rng: random.Random, count: int, outcome: Callable[[Callable[[], Any]], None]) -> None:
    """Bytes that are messages with any integers, or nearly so, decoded and given to a dispatcher."""
    table = some_table(rng)
    dispatcher = Dispatcher(0, late_us=0)
    dispatcher.add_plan(ServedPlan(0, ReservationPolicy(table), table, 0))
    dispatcher.switch(0, 0)
    dispatcher.gateway_up(0, 0, "gateway-0")
    for worker in range(table.n_workers):
        dispatcher.worker_up(0, worker, "somewhere")
    decoder = msgspec.msgpack.Decoder(ToDispatcher)
    handlers = {
        Arrive: dispatcher.arrive,
        StageDone: dispatcher.stage_done,
        StageFailed: dispatcher.stage_failed,
        StageDropped: dispatcher.stage_dropped,
        Cancel: dispatcher.cancel,
        Pong: dispatcher.pong,
    }
    fields = {
        1: ("dispatcher", "epoch", "model", "request", "request", "stage", "time"),
        3: ("batch", "worker"),
        2: ("epoch", "batch", "stage", "stage", "worker"),
        12: ("dispatcher", "request"),
        13: ("worker", "stage", "time"),
    }
    for step in range(count):
        tag = rng.choice([1, 1, 2, 2, 3, 12, 13])
        parts: list[Any] = [tag, *(value(rng, kind, 5 * step) for kind in fields[tag])]
        parts += ["no"] if tag == 3 else [5 * step] * 5 if tag == 2 else []
        plain = [part if type(part) in (int, float, str, bytes, bool, type(None)) else 0 for part in parts]
        plain = [
            part if not isinstance(part, int) or -(2**63) <= part < 2**64 else 2**64 - 1 for part in plain
        ]
        frame = bytearray(msgspec.msgpack.encode(plain))
        if rng.random() < 0.1:
            frame[rng.randrange(len(frame))] = rng.randrange(256)

        def handled() -> None:
            message = decoded(decoder, bytes(frame))  # noqa: B023
            handlers[type(message)](5 * step, message)  # noqa: B023

        outcome(handled)


PARTS = (fuzz_calls, fuzz_journal, fuzz_tables, fuzz_simulations, fuzz_messages)


def child(seed: int, calls: int) -> None:
    """One round; prints its counts as JSON, and the first exceptions of other types."""
    rng = random.Random(seed)
    counts: Counter[str] = Counter()
    strange: list[str] = []

    def outcome(call: Callable[[], Any]) -> None:
        try:
            call()
            counts["accepted"] += 1
        except BadInputError:
            counts["refused"] += 1
        except Exception:
            counts["other exceptions"] += 1
            strange.append(traceback.format_exc(limit=-4))

    while sum(counts.values()) < calls:
        before = sum(counts.values())
        part = rng.choice(PARTS)
        part(rng, 200, outcome)
        assert sum(counts.values()) > before
    print(json.dumps({"counts": counts, "strange": strange[:3]}))


def main() -> int:
    calls = int(sys.argv[1]) if len(sys.argv) > 1 else CALLS
    first_seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    totals: Counter[str] = Counter()
    failures: list[str] = []
    start = time.monotonic()
    for seed in range(first_seed, first_seed + -(-calls // CALLS_A_ROUND)):
        command = [sys.executable, __file__, "--child", str(seed), str(min(calls, CALLS_A_ROUND))]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
        except subprocess.TimeoutExpired:
            failures.append(f"seed {seed}: not done after {LIMIT_S:.0f} s")
            continue
        if done.returncode != 0:
            failures.append(f"seed {seed}: ended with status {done.returncode}: {done.stderr[-500:]}")
            continue
        found = json.loads(done.stdout)
        totals.update(found["counts"])
        failures += [f"seed {seed}: {text}" for text in found["strange"]]
    for text in failures:
        print(text)
    print(
        f"{sum(totals.values())} calls, journals, tables, simulations and messages in "
        f"{time.monotonic() - start:.0f} s: "
        f"{totals['accepted']} accepted, {totals['refused']} refused with BadInputError, "
        f"{totals['other exceptions']} other exceptions; {len(failures)} failures (crashes, hangs, other exceptions)"
    )
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(int(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
