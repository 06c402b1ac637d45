"""A plan in real time: the dispatcher's own process, emulated workers, and a gateway that is asked in process.

HTTP is left out, because clients and connections of thousands of requests a second would take the two cores that the
rest needs. Tensors are small for the same reason: the plan's transfers are held by the fleet instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np

from penstock.arrays import I64
from penstock.plan.dispatch_table import dispatch_table
from penstock.plan.documents.plan import Plan
from penstock.profile.table import Profile
from penstock.record import Outcome, Record
from penstock.schedule.table import DispatchTable
from penstock.serve.control import GatewayUp, PlanAdded, Stop, Switch, WorkerUp
from penstock.serve.engine.child import Child
from penstock.serve.engine.run_folder import run_folder
from penstock.serve.executor.emulated import zeros_of
from penstock.serve.gateway.gateway import Gateway
from penstock.serve.gateway.gateway_process import SWEEP_S
from penstock.serve.prepare import ServeOptions, prepare
from penstock.serve.protocol.errors import ProtocolError
from penstock.serve.protocol.infer import InferRequest, Tensor
from penstock.serve.spec import ServerSpec, plain_table, write_spec
from penstock.serve.transport import gateway_endpoint
from penstock.simulate.routed.routed_simulator import simulate
from penstock.traffic.arrivals import Arrivals
from penstock.units import US_PER_S

BYTES = 64
"""Of each tensor."""
LEAD_US = 200_000
"""From the last preparation to time 0 of the arrivals."""
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """Of the requests after the warm-up. ``cores``: by process, of the time after the warm-up; empty if simulated."""

    requests: int
    attainment: float
    goodput_rps: float
    p50_ms: float
    p99_ms: float
    outcomes: Mapping[str, int]
    cores: Mapping[str, float]
    lag_p99_ms: float = 0.0


def simulated(
    table: DispatchTable, spec: ServerSpec, arrivals: Arrivals, warm_us: int, stop_us: int
) -> Figures:
    """The same arrivals in the simulator, with the server's own allowances."""
    record: Record = simulate(
        table,
        arrivals,
        model_names=[model.name for model in spec.models],
        seed=0,
        policy=spec.policy,
        dispatch_us=spec.dispatch_us,
        overhead_us=spec.overhead_us,
    )
    requests = record.requests
    order = np.argsort(requests.request)
    return figures(
        requests.arrival_us[order], requests.finish_us[order], requests.outcome[order], warm_us, stop_us
    )


def figures(
    arrival_us: I64, finish_us: I64, outcome: I64, warm_us: int, stop_us: int, cores: Mapping[str, float] | None = None,
    lag_us: I64 | None = None,
) -> Figures:  # fmt: skip
    """Figures of the arrivals in [warm_us, stop_us)."""
    inside = (arrival_us >= warm_us) & (arrival_us < stop_us)
    met = outcome[inside] == Outcome.MET
    answered = inside & np.isin(outcome, (Outcome.MET, Outcome.LATE))
    latency_ms = (finish_us - arrival_us)[answered] / 1e3 if answered.any() else np.zeros(1)
    return Figures(
        requests=int(inside.sum()),
        attainment=float(met.mean()) if inside.any() else 1.0,
        goodput_rps=float(met.sum() / ((stop_us - warm_us) / US_PER_S)),
        p50_ms=float(np.quantile(latency_ms, 0.5)),
        p99_ms=float(np.quantile(latency_ms, 0.99)),
        outcomes={one.text: int(n) for one in Outcome if (n := (outcome[inside] == one).sum())},
        cores=cores or {},
        lag_p99_ms=0.0 if lag_us is None else float(np.quantile(lag_us[inside], 0.99) / 1e3),
    )


def small_spec(plan: Plan, profiles: Mapping[str, Profile], folder: Path) -> tuple[ServerSpec, DispatchTable]:
    """The spec of an emulated server whose tensors are small, and whose table is the plan's own."""
    table = dispatch_table(plan, profiles)
    small = {
        name: replace(one, boundary_bytes=(BYTES,) * len(one.boundary_bytes), model_file=None)
        for name, one in profiles.items()
    }
    spec = prepare(plan, small, ServeOptions({"": "emulated"}), folder)
    return msgspec.structs.replace(spec, table=plain_table(table)), table


@contextlib.contextmanager
def processes(spec: ServerSpec, folder: Path) -> Iterator[dict[str, int]]:
    """A dispatcher and the fleet, which know each other and gateway 0; their process ids by name."""
    write_spec(spec, folder)
    child = Child("dispatcher", folder, 0)
    fleet = subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / "fleet.py"), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert fleet.stdin is not None
    assert fleet.stdout is not None
    try:
        word, _, endpoint = fleet.stdout.readline().strip().partition(" ")
        if word != "ready":
            raise RuntimeError("the fleet did not start")
        child.line.send(PlanAdded(0))
        if child.line.receive() is None:
            raise RuntimeError("the dispatcher did not start")
        child.line.send(Switch(0))
        child.line.send(GatewayUp(0, gateway_endpoint(folder, 0)))
        for worker in spec.workers:
            child.line.send(WorkerUp(worker, endpoint))
        yield {"dispatcher": child.pid, "fleet": fleet.pid, "gateway and load": os.getpid()}
    finally:
        child.line.send(Stop())
        child.reap(5.0)
        fleet.stdin.close()
        fleet.wait(5.0)
        fleet.stdout.close()


def served(spec: ServerSpec, arrivals: Arrivals, warm_us: int, stop_us: int) -> Figures:
    """The arrivals in real time."""
    folder = run_folder()
    try:
        with processes(spec, folder) as pids:
            return asyncio.run(_drive(spec, folder, arrivals, warm_us, stop_us, pids))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _drive(
    spec: ServerSpec, folder: Path, arrivals: Arrivals, warm_us: int, stop_us: int, pids: Mapping[str, int]
) -> Figures:
    gateway = Gateway(spec, folder, 0)
    try:
        await asyncio.wait_for(gateway.became_ready.wait(), 120.0)
        sweeping = asyncio.create_task(_sweep(gateway))
        for model in range(len(spec.models)):
            await gateway.infer(model, _request(spec, model), gateway.now_us())
        count = len(arrivals)
        finish_us, outcome = np.full(count, -1), np.full(count, int(Outcome.ERROR))
        lag_us = np.zeros(count, np.int64)
        zero_us = gateway.now_us() + LEAD_US
        requests = [_request(spec, model) for model in range(len(spec.models))]
        models = arrivals.model.tolist()

        async def ask(row: int, at_us: int) -> None:
            model = models[row]
            try:
                await gateway.infer(model, requests[model], zero_us + at_us)
            except ProtocolError as error:
                early = error.http_status == 503
                outcome[row] = Outcome.DROPPED_EARLY if early else Outcome.DROPPED_DEADLINE
                if error.http_status == 500:
                    outcome[row] = Outcome.ERROR
                return
            now_us = gateway.now_us() - zero_us
            finish_us[row] = now_us
            outcome[row] = Outcome.MET if now_us <= at_us + spec.models[model].slo_us else Outcome.LATE

        used: dict[str, float] = {}
        tasks = set()
        for row, at_us in enumerate(arrivals.arrival_us.tolist()):
            while (left_us := zero_us + at_us - gateway.now_us()) > 0:
                await asyncio.sleep(left_us / US_PER_S)
            if not used and at_us >= warm_us:
                used, from_us = _cpu_s(pids), gateway.now_us()
            lag_us[row] = gateway.now_us() - zero_us - at_us
            task = asyncio.create_task(ask(row, at_us))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        span_s = (gateway.now_us() - from_us) / US_PER_S
        cores = {name: (cpu_s - used[name]) / span_s for name, cpu_s in _cpu_s(pids).items()}
        await asyncio.gather(*tasks)
        sweeping.cancel()
    finally:
        gateway.close()
    return figures(arrivals.arrival_us, finish_us, outcome, warm_us, stop_us, cores, lag_us)


async def _sweep(gateway: Gateway) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        gateway.give_up_overdue()


def _request(spec: ServerSpec, model: int) -> InferRequest:
    inputs = (Tensor(one.name, one.datatype, zeros_of(one, 1)) for one in spec.models[model].inputs)
    return InferRequest(tuple(inputs))


def _cpu_s(pids: Mapping[str, int]) -> dict[str, float]:
    found = {}
    for name, pid in pids.items():
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        found[name] = (int(words[11]) + int(words[12])) / TICKS
    return found
