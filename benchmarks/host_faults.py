"""What the loss of a host costs a server of ten hosts under load, again and again.

Each host is a network namespace of this machine with one device. One server serves two stages of five padded workers
(real results) and gets 70% of its planned rate at fixed times, whatever happens (open loop). After each fault the host
comes back before the next one. Four hosts of a stage carry 80% of the rate.

    sudo python benchmarks/host_faults.py [--times N] [--only FAULT ...] [--load 0.7] [--log FILE]

The faults: the agent killed; all processes of a host killed; its link cut for 5 s; its link cut for good, until the
plan without it is served. Exit status 1 if a limit is broken: every request answered once and none wrong, 99% met
again within 15 s, the plan replanned, as many processes as before on all hosts at the end, and none after it.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from serve_cases import WIDTH, skip_profile, write_plan, write_skip_model

from faults_parts import trial
from faults_parts.trial import GOOD, Answer, Trial, asked, example
from penstock.plan.documents.store import load_plan
from penstock.serve.hosts.rehearsal import _run
from penstock.serve.local_server import LocalServer

WORKERS = 5
"""A stage, each on a host of its own."""
STAGE_US = 100_000
SLO_US = 2_000_000
BACK_S = 15.0
QUIET_S = 3.0
"""Of good service before a fault and after it."""
WAIT_S = 90.0
REPLAN_S = "2"
NOTES = 200
"""Lines of the server's log that are shown if a fault cannot strike, and if a host ends with another number of
processes."""
BEFORE_S = 5.0
"""The server's log is shown from so long before the first error of a fault on."""
SHOWN = 20
"""Errors of a fault that are shown, from the first one on."""


class Fleet:
    """The hosts of a running server."""

    def __init__(self, server: LocalServer) -> None:
        self.server = server
        self.spaces: dict[str, str] = dict(
            re.findall(r"host (gpu:\d+) is network namespace (penstock-\d+-\d+)", server.notes)
        )

    def pids(self, host: str) -> list[int]:
        return [int(line) for line in _run("ip", "netns", "pids", self.spaces[host]).split()]

    def listed(self, host: str) -> list[str]:
        """Its processes: number, parent, seconds since the start, command line."""
        shown = []
        for pid in self.pids(host):
            try:
                fields = _stat(pid)
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except OSError:
                continue  # it has just ended
            age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / os.sysconf("SC_CLK_TCK")
            shown.append(f"{pid} (parent {fields[1]}, state {fields[0]}, {age_s:.0f} s) {' '.join(words)}")
        return shown

    def agent(self, host: str) -> int:
        """The oldest process of the host."""
        return min(self.pids(host), key=lambda pid: int(_stat(pid)[19]))

    def link(self, host: str, state: str) -> None:
        number = self.spaces[host].rpartition("-")[2]
        _run("ip", "link", "set", f"ps{self.server.pid}-{number}", state)

    def said(self, what: str) -> int:
        return len(re.findall(what, self.server.notes))

    def wait(self, what: str, count: int) -> bool:
        """Until the server has said ``what`` so often."""
        end_s = time.monotonic() + WAIT_S
        while self.said(what) < count:
            if time.monotonic() > end_s:
                return False
            time.sleep(0.1)
        return True


def _stat(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def kill_agent(fleet: Fleet, host: str) -> Callable[[], bool]:
    back = fleet.said(f"host {host} is back") + 1
    os.kill(fleet.agent(host), signal.SIGKILL)
    return lambda: fleet.wait(f"host {host} is back", back)


def kill_all(fleet: Fleet, host: str) -> Callable[[], bool]:
    back = fleet.said(f"host {host} is back") + 1
    for pid in fleet.pids(host):
        os.kill(pid, signal.SIGKILL)
    return lambda: fleet.wait(f"host {host} is back", back)


def cut_for_5_s(fleet: Fleet, host: str) -> Callable[[], bool]:
    back = fleet.said(f"host {host} is back") + 1
    fleet.link(host, "down")
    threading.Timer(5.0, fleet.link, (host, "up")).start()
    return lambda: fleet.wait(f"host {host} is back", back)


def cut_for_good(fleet: Fleet, host: str) -> Callable[[], bool]:
    """Until the plan without it is served; then the link comes back, so that the next fault finds all hosts."""
    fits = fleet.said("the plan fits what is there")
    back = fleet.said(f"host {host} is back") + 1
    fleet.link(host, "down")

    def over() -> bool:
        replanned = fleet.wait("the plan fits what is there", fits + 1)
        time.sleep(QUIET_S)
        fleet.link(host, "up")
        return (
            replanned
            and fleet.wait(f"host {host} is back", back)
            and fleet.wait("the plan fits what is there", fits + 2)
        )

    return over


FAULTS = {
    "agent killed": kill_agent,
    "all of a host killed": kill_all,
    "link cut for 5 s": cut_for_5_s,
    "link cut for good": cut_for_good,
}


@dataclass
class Struck:
    """A fault and the time from it to the next one, in seconds of the load."""

    name: str
    host: str
    fault_s: float
    end_s: float
    is_over: bool


class Load:
    """Requests at fixed times, until it is told to stop."""

    def __init__(self, url: str, path: Path, rate: float) -> None:
        x, wanted = example(path)
        values = {"name": "x", "shape": [1, WIDTH], "datatype": "FP32", "data": x.tolist()}
        self._ask = (url, json.dumps({"inputs": [values]}).encode(), wanted)
        self._rate = rate
        self._stop = threading.Event()
        self._made: list[Future[Answer]] = []
        self._pool = ThreadPoolExecutor(128)
        self.start_s = time.monotonic()
        self._start_unix_s = time.time()
        self._thread = threading.Thread(target=self._pace)
        self._thread.start()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self.start_s

    def _pace(self) -> None:
        while not self._stop.is_set():
            time.sleep(max(0.0, self.start_s + len(self._made) / self._rate - time.monotonic()))
            self._made.append(self._pool.submit(asked, *self._ask, self.start_s))

    def of_unix(self, unix_s: float) -> float:
        """A time of the clock on the wall, in seconds of the load."""
        return unix_s - self._start_unix_s

    def since(self, since_s: float) -> list[Answer]:
        """The answers so far to requests sent from ``since_s`` on, by the time of sending."""
        done = [one.result() for one in self._made if one.done()]
        return sorted((a for a in done if a.sent_s >= since_s), key=lambda a: a.sent_s)

    def answers(self) -> list[Answer]:
        """Stop, and every answer."""
        self._stop.set()
        self._thread.join()
        return [one.result() for one in self._made]


def tell(one: Struck, load: Load, notes: str) -> None:
    """What a fault cost so far; if there are errors, they and what the server said around them."""
    answers = load.since(one.fault_s - QUIET_S)
    errors = [answer for answer in answers if answer.status != 200]
    slowest = max(answers, key=lambda answer: answer.took_s)
    said = [
        f"  {one.name} ({one.host}): {one.end_s - one.fault_s:.1f} s, {len(errors)} errors",
        f"slowest {slowest.took_s:.2f} s, sent {slowest.sent_s - one.fault_s:.1f} s after it",
        f"load average {os.getloadavg()[0]:.1f}",
    ]
    if errors:
        first, last = (answer.sent_s - one.fault_s for answer in (errors[0], errors[-1]))
        said[0] += f", from {first:.1f} s to {last:.1f} s after it"
    print(", ".join(said), file=sys.stderr, flush=True)
    if errors:
        show(errors, notes, load, one.fault_s)


def show(errors: list[Answer], notes: str, load: Load, fault_s: float) -> None:
    """The errors of a fault and what the server said around them, by seconds after the fault."""
    lines = []
    for one in errors[:SHOWN]:
        end_s = one.sent_s + one.took_s - fault_s
        lines.append((end_s, f"{one.status} after {one.took_s:.2f} s: {one.error}"))
    said_s = -math.inf
    for note in notes.splitlines():
        stamp, _, text = note.partition(" ")
        try:
            said_s = load.of_unix(datetime.fromisoformat(stamp).timestamp()) - fault_s
        except ValueError:  # the next line of a message, or one of an agent
            text = note
        if said_s >= errors[0].sent_s - fault_s - BEFORE_S:
            lines.append((said_s, text))
    for at_s, text in sorted(lines, key=lambda line: line[0]):
        print(f"    {at_s:7.2f} s  {text}", file=sys.stderr, flush=True)


def run(names: list[str], times: int, share: float, log: Path | None) -> int:
    trial.SLO_US = SLO_US
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        path = write_skip_model(folder / "skip.onnx")
        profile = skip_profile(path, STAGE_US // 2)
        plan = write_plan(folder, profile, (0, 2, 4), workers=WORKERS, batch=1, slo_us=SLO_US)
        rate = load_plan(plan).plan.models[0].rate_rps * share
        options = ["--executor", "padded", "--rehearse-hosts", "--overhead-us", "100000", "--standby"]
        with LocalServer(plan, [*options, "--replan-after", REPLAN_S], ready_s=300) as server:
            fleet = Fleet(server)
            hosts = list(fleet.spaces)
            before = {host: len(fleet.pids(host)) for host in hosts}
            load = Load(server.url, path, rate)
            time.sleep(QUIET_S)
            struck = []
            for number in range(times):
                for place, name in enumerate(names):
                    host = hosts[(number * len(names) + place) * 3 % len(hosts)]
                    fault_s = load.now_s
                    try:
                        is_over = FAULTS[name](fleet, host)()
                    except BaseException:
                        print(*server.notes.splitlines()[-NOTES:], sep="\n", file=sys.stderr, flush=True)
                        raise
                    time.sleep(2 * QUIET_S)
                    struck.append(Struck(name, host, fault_s, load.now_s, is_over))
                    tell(struck[-1], load, server.notes)
                    if log is not None:
                        log.write_text(server.notes)
            answers = load.answers()
            end_s = time.monotonic() + WAIT_S  # a worker may just be starting again
            while (after := {host: len(fleet.pids(host)) for host in hosts}) != before:
                if time.monotonic() > end_s:
                    break
                time.sleep(0.5)
            for host in hosts:
                if after[host] != before[host]:
                    print(f"{host} has {after[host]} processes, and had {before[host]}:", file=sys.stderr)
                    print(*(f"  {line}" for line in fleet.listed(host)), sep="\n", file=sys.stderr)
                    print(*server.notes.splitlines()[-NOTES:], sep="\n", file=sys.stderr, flush=True)
            living = [pid for host in hosts for pid in fleet.pids(host)]
        left = [pid for pid in living if Path(f"/proc/{pid}").exists()]
    leaked = [f"{host}: {after[host]} for {before[host]}" for host in hosts if after[host] != before[host]]
    return report(names, struck, answers, rate, leaked, left)


def report(
    names: list[str],
    struck: list[Struck],
    answers: list[Answer],
    rate: float,
    leaked: list[str],
    left: list[int],
) -> int:
    print(f"{rate:.1f} requests/s, {len(answers)} sent, each answered once or counted as lost")
    print(
        f"{'fault':<22}{'times':>6}{'sent':>6}{'wrong':>6}{'lost':>5}  {'errors':<18}{'good again after':>24}  limits"
    )
    failures = 0
    for name in names:
        own = [one for one in struck if one.name == name]
        trials = [
            Trial([a for a in answers if one.fault_s - QUIET_S <= a.sent_s < one.end_s], one.fault_s)
            for one in own
        ]
        backs = [one.back_s for one in trials]
        errors = sum((one.errors for one in trials), Counter[int]())
        wrong, lost = sum(one.wrong for one in trials), sum(one.lost for one in trials)
        broken = [
            *(["wrong answers"] if wrong else []),
            *(["without an answer"] if lost else []),
            *([f"not {GOOD:.0%} within {BACK_S:g} s"] if max(backs) > BACK_S else []),
            *(["did not come back"] if not all(one.is_over for one in own) else []),
        ]
        failures += bool(broken)
        said = ", ".join(f"{count} x {status}" for status, count in sorted(errors.items())) or "-"
        spread = f"{np.median(backs):.1f} s, at most {max(backs):.1f}"
        print(
            f"{name:<22}{len(own):>6}{sum(len(one.answers) for one in trials):>6}{wrong:>6}{lost:>5}  {said:<18}"
            f"{spread:>24}  {'; '.join(broken) or 'held'}"
        )
    print(
        f"hosts with more or fewer processes than before: {leaked or 'none'}; processes left: {left or 'none'}"
    )
    return 1 if failures or leaked or left else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--only", action="append", choices=list(FAULTS))
    parser.add_argument("--load", type=float, default=0.7, help="part of the planned rate")
    parser.add_argument("--log", type=Path, help="file that gets the server's log")
    given = parser.parse_args()
    return run(given.only or list(FAULTS), given.times, given.load, given.log)


if __name__ == "__main__":
    sys.exit(main())
