"""What one request costs each process of a server, counted: CPU time, wakeups and system calls.

    python benchmarks/request_cost.py                        # two sizes of body, concurrency 1 and 8
    python benchmarks/request_cost.py --system-calls         # and by strace, which slows the server down
    python benchmarks/request_cost.py --transport zeromq

The model takes a microsecond, and one worker has it. Beside it a bare echo of the same HTTP server, in turn. On a
machine that others use too, the clock says little, but a count does not depend on them: a wakeup is one time that a
thread slept and went on (``voluntary_ctxt_switches``), CPU time is that of the scheduler's own books.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))

from serve_cases import bytes_profile, write_plan

from penstock.serve.local_server import LocalServer
from serve_parts.overhead import CONCURRENCY, SIZES, echo, idle_request
from serve_parts.thin_client import closed_loop

ROLES = ("gateway", "dispatcher", "worker", "echo")
STRACE_S = 1.0
SHOWN_CALLS = 5


def threads_of(process: int) -> Iterator[Path]:
    """The threads of ``process``, as folders of /proc."""
    return Path(f"/proc/{process}/task").iterdir()


def books(process: int) -> Counter[str]:
    """CPU microseconds, wakeups and involuntary switches of all threads so far."""
    total: Counter[str] = Counter()
    for thread in threads_of(process):
        total["cpu us"] += int((thread / "schedstat").read_text().split()[0]) // 1_000
        for line in (thread / "status").read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                total["wakeups"] += int(line.split()[1])
            elif line.startswith("nonvoluntary"):
                total["preempted"] += int(line.split()[1])
    return total


def roles_below(supervisor: int) -> dict[str, int]:
    """The processes of a server, by role."""
    found = {}
    children = (Path(f"/proc/{supervisor}/task/{supervisor}/children")).read_text().split()
    for child in map(int, children):
        command = Path(f"/proc/{child}/cmdline").read_text().split("\0")
        found.update({role: child for role in ROLES if role in command})
    return found


def measure(processes: dict[str, int], port: int, request: bytes, concurrency: int, seconds: float) -> None:
    """A line for each process: what a request cost it."""
    closed_loop(port, request, concurrency, seconds / 4)
    before = {role: books(process) for role, process in processes.items()}
    figures = closed_loop(port, request, concurrency, seconds)
    done = figures.done
    print(f"  {done} requests, p50 {figures.p50_us:.0f} us, {figures.failed} failed")
    for role, process in processes.items():
        cost = books(process) - before[role]
        each = ", ".join(f"{cost[name] / done:7.2f} {name}" for name in ("cpu us", "wakeups", "preempted"))
        print(f"    {role:>10} {each}")


def system_calls(processes: dict[str, int], port: int, request: bytes, folder: Path) -> None:
    """A line for each process: its calls of one request at concurrency 1, the most frequent ones by name."""
    for role, process in processes.items():
        report = folder / f"{role}.strace"
        tracer = subprocess.Popen(
            ["strace", "-f", "-c", "-U", "name,calls", "-o", report, "-p", str(process)],
            stderr=subprocess.DEVNULL,
        )
        time.sleep(0.5)  # until it is attached; what comes before is not counted
        done = closed_loop(port, request, 1, STRACE_S).done
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        rows = [line.split() for line in report.read_text().splitlines()]
        counts = {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}
        calls = {name: count / done for name, count in counts.items() if name != "total"}
        shown = sorted(calls.items(), key=lambda item: -item[1])[:SHOWN_CALLS]
        text = ", ".join(f"{count:.1f} {name}" for name, count in shown)
        print(f"    {role:>10} {sum(calls.values()):5.1f} calls: {text}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--system-calls", action="store_true")
    parser.add_argument("--transport", default="shared-memory")
    asked = parser.parse_args()
    for label, size in SIZES.items():
        request = idle_request(size)
        with tempfile.TemporaryDirectory() as name, echo() as (echo_port, echo_process):
            folder = Path(name)
            profile = bytes_profile("idle", (size, 40), latency_us=1)
            plan = write_plan(folder, profile, (0, 1), batch=1, slo_us=10_000_000)
            arguments = ["--executor", "emulated", "--transport", asked.transport]
            with LocalServer(plan, arguments, ready_s=600.0) as server:
                port = urlsplit(server.url).port or 0
                processes = roles_below(server.pid)
                for concurrency in (1, CONCURRENCY):
                    print(f"{label}, concurrency {concurrency}")
                    measure({"echo": echo_process}, echo_port, request, concurrency, asked.seconds)
                    measure(processes, port, request, concurrency, asked.seconds)
                if asked.system_calls:
                    system_calls(processes, port, request, folder)


if __name__ == "__main__":
    main()
