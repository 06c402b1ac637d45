"""Which HTTP server the gateway should use: the CPU time of a bare echo, by server and size of the body.

Each server runs in a process of its own with one event loop and one worker. One client sends a request after the
other on one connection (raw sockets, so that the client costs the same for all), in rounds that take turns, and the
CPU time of the server's processes is read before and after. Servers that are not installed are left out; ``pip
install uvicorn httptools granian`` adds them.

    python benchmarks/http_servers.py [--rounds 5] [--seconds 1]
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

ECHO = Path(__file__).parent / "http_servers_parts" / "echo.py"
SIZES = {"1 KB": 1_000, "602 KB": 602_112}
SERVERS = {"penstock": "httptools", "aiohttp": "aiohttp", "uvicorn": "uvicorn", "granian": "granian"}
# All get the memory settings that the gateway sets for itself; without them each new body costs page faults.
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(128 * 2**20), "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20)}
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        port: int = one.getsockname()[1]
        return port


def cpu_s(pid: int) -> float:
    """User and system time of ``pid`` and of its living children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = (int(fields[11]) + int(fields[12])) * TICK_S
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_s(int(child)) for child in children)


def read_answer(client: socket.socket, buffer: bytearray) -> int:
    """Read one response; returns the length of its body."""
    view = memoryview(buffer)
    at = 0
    while (end := buffer.find(b"\r\n\r\n", 0, at)) < 0:
        at += client.recv_into(view[at:])
    head = bytes(buffer[:end]).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    while at < end + 4 + length:
        at += client.recv_into(view[at:])
    return length


def round_of(pid: int, port: int, size: int, seconds: float) -> tuple[float, float]:
    """(CPU microseconds of the server for a request, median latency in microseconds)."""
    body = bytes(size)
    request = f"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: {size}\r\n\r\n".encode() + body
    buffer = bytearray(size + 65_536)
    times = []
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(20):
            client.sendall(request)
            assert read_answer(client, buffer) == size
        before = cpu_s(pid)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            start = time.perf_counter()
            client.sendall(request)
            read_answer(client, buffer)
            times.append(time.perf_counter() - start)
        used = cpu_s(pid) - before
    return used * 1e6 / len(times), statistics.median(times) * 1e6


def wait_for(port: int) -> None:
    end = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            assert time.monotonic() < end, "the server did not start"
            time.sleep(0.05)
        else:
            return


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    here = [name for name, package in SERVERS.items() if find_spec(package)]
    processes: dict[str, tuple[subprocess.Popen[bytes], int]] = {}
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    try:
        for name in here:
            port = free_port()
            command = [sys.executable, str(ECHO), name, str(port)]
            processes[name] = (subprocess.Popen(command, env=os.environ | KEEP_MEMORY), port)
            wait_for(port)
        for _ in range(options.rounds):
            for label, size in SIZES.items():
                for name, (process, port) in processes.items():
                    result = round_of(process.pid, port, size, options.seconds)
                    found.setdefault((label, name), []).append(result)
    finally:
        for process, _ in processes.values():
            process.terminate()
            process.wait(20)
    print(f"{'body':>8} {'server':>10} {'CPU us':>8} {'p50 us':>8} {'CPU / penstock':>15}")
    for label in SIZES:
        base = statistics.median(cpu for cpu, _ in found[label, here[0]])
        for name in here:
            cpu = statistics.median(cpu for cpu, _ in found[label, name])
            latency = statistics.median(latency for _, latency in found[label, name])
            print(f"{label:>8} {name:>10} {cpu:8.0f} {latency:8.0f} {cpu / base:15.2f}")


if __name__ == "__main__":
    main()
