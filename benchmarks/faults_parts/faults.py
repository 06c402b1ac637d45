"""The faults: how each strikes, at what load, and what must hold."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from faults_parts.trial import BACK_S, SETTLE_S, WORKERS, Server, Trial, serving
from penstock.plan.documents.store import load_plan
from penstock.serve.switching import run_at, switch


def kill_worker(it: Server) -> None:
    os.kill(it.first_stage()[0], signal.SIGKILL)


def kill_half_a_pool(it: Server) -> None:
    for worker in it.first_stage()[: WORKERS // 2]:
        os.kill(worker, signal.SIGKILL)


def hang_worker(it: Server) -> None:
    os.kill(it.first_stage()[0], signal.SIGSTOP)


def slow_worker(it: Server) -> None:
    """Three times slower: stopped two thirds of the time, in slices too short to count as hanging."""
    worker = it.first_stage()[0]

    def slow() -> None:
        end_s = time.monotonic() + 4.0
        while time.monotonic() < end_s:
            os.kill(worker, signal.SIGSTOP)
            time.sleep(0.08)
            os.kill(worker, signal.SIGCONT)
            time.sleep(0.04)

    it.beside(slow)


def kill_dispatcher(it: Server) -> None:
    os.kill(it.processes("dispatcher")[0], signal.SIGKILL)


def hang_dispatcher(it: Server) -> None:
    os.kill(it.processes("dispatcher")[0], signal.SIGSTOP)


def hang_gateway(it: Server) -> None:
    os.kill(it.processes("gateway")[0], signal.SIGSTOP)


def kill_gateway(it: Server) -> None:
    os.kill(it.processes("gateway")[0], signal.SIGKILL)


def remove_model(it: Server) -> None:
    """A worker dies and cannot come back; the others of its pool serve on."""
    worker = it.first_stage()[0]
    run = Path(Path(f"/proc/{worker}/cmdline").read_text().split("\0")[4])
    (run / "model-0-0-2.onnx").unlink()
    os.kill(worker, signal.SIGKILL)


def switch_plan(it: Server) -> None:
    """To the same plan, on new workers."""
    loaded = load_plan(it.folder / "plan.json")
    url = it.server.url
    it.beside(
        lambda: switch(loaded.plan, loaded.profiles, it.folder / "plan.json", run_at(url), lambda text: None)
    )


def nothing(it: Server) -> None:
    """No fault: what the load alone costs on this machine."""


@dataclass(frozen=True)
class Fault:
    """``load``: of the planned rate. ``may_lose``: whether connections die with it.

    ``standby``: whether there is a second dispatcher.
    """

    strike: Callable[[Server], None]
    load: float
    may_lose: bool = False
    standby: bool = True


FAULTS = {
    "none": Fault(nothing, 0.8),
    "worker killed": Fault(kill_worker, 0.8 * 3 / 4),
    "half a pool killed": Fault(kill_half_a_pool, 0.8 / 2),
    "worker hangs": Fault(hang_worker, 0.8 * 3 / 4),
    "worker 3x slower": Fault(slow_worker, 0.8 * 3 / 4),
    "dispatcher killed": Fault(kill_dispatcher, 0.8),
    "no standby": Fault(kill_dispatcher, 0.4, standby=False),
    "dispatcher hangs": Fault(hang_dispatcher, 0.4),
    "gateway killed": Fault(kill_gateway, 0.8, may_lose=True),
    "gateway hangs": Fault(hang_gateway, 0.4, may_lose=True),
    "model file gone": Fault(remove_model, 0.8 * 3 / 4),
    "plan switched": Fault(switch_plan, 0.8),
}


def trial(fault: Fault, seconds: float, scale: float) -> Trial:
    """One server, one load, one fault."""
    left: list[str] = []
    with serving(*(("--standby",) if fault.standby else ()), left=left) as (it, load):
        fault_s = SETTLE_S + (seconds - SETTLE_S) / 3
        timer = threading.Timer(fault_s, fault.strike, [it])
        timer.start()
        answers = load.send(load.planned_rps * fault.load * scale, seconds)
        timer.join()
        it.wait()
    return Trial(answers, fault_s, left, it.problems)


def limits_broken(fault: Fault, one: Trial) -> list[str]:
    """What must hold: nothing wrong, nothing lost but a dead gateway's connections, nothing left, soon good again."""
    broken = list(one.problems)
    if one.wrong:
        broken.append("wrong answers")
    if one.lost and not fault.may_lose:
        broken.append("requests without an answer")
    if one.left:
        broken.append("something is left")
    if one.back_s > BACK_S:
        broken.append(f"not good again within {BACK_S:g} s")
    return broken
