"""Other servers, each in an environment of its own that is made once and kept: made, started and ended."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from serve_parts.overhead import wait_for
from serve_parts.thin_client import one_by_one

SCRIPTS = Path(__file__).parent / "peers"
INSTALL_S = 600.0
START_S = 120.0


def environment(name: str, requires: Sequence[str], folder: Path) -> Path:
    """The Python of an environment ``name`` below ``folder``; :class:`RuntimeError` if it cannot be made."""
    own = folder / name
    python = own / "bin" / "python"
    if (own / "installed").exists():
        return python
    shutil.rmtree(own, ignore_errors=True)
    uv = shutil.which("uv")
    make = [uv, "venv", "--quiet", "-p", sys.executable] if uv else [sys.executable, "-m", "venv"]
    install = (
        [uv, "pip", "install", "--quiet", "-p", str(python)]
        if uv
        else [str(python), "-m", "pip", "install", "-q"]
    )
    for command in ([*make, str(own)], [*install, *requires]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            raise RuntimeError(f"cannot be installed: {done.stderr.strip()[-200:]}")
    (own / "installed").touch()
    return python


def version_of(python: Path, package: str) -> str:
    """The version of ``package`` in an environment."""
    ask = f"import importlib.metadata as m; print(m.version({package!r}))"
    return subprocess.run([str(python), "-c", ask], capture_output=True, text=True, check=True).stdout.strip()


def cpu_s(process: int) -> float:
    """The CPU seconds of ``process`` and all that it started, as far as they live."""
    parents: dict[int, int] = {}
    used: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):  # it ended meanwhile, or is no process
            # The name may have spaces, but what follows the last parenthesis has not.
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(fields[1])
            used[int(entry.name)] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    below = {process}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return sum(used.get(one, 0.0) for one in below)


@contextmanager
def started(
    python: Path, script: str, arguments: Sequence[object], port: int, log: Path, request: bytes | None = None
) -> Iterator[int]:
    """``script`` of :data:`SCRIPTS` while it listens at ``port`` and, if there is a ``request``, answers it.

    Yields the number of its process. It gets a session of its own, all of which ends at the end. :class:`RuntimeError`
    with the last line of its ``log`` if it does not come up.
    """
    command = [str(python), str(SCRIPTS / script), *map(str, arguments)]
    own = {**os.environ, "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, start_new_session=True, env=own, cwd=log.parent
        )
        try:
            try:
                wait_for(port, process, START_S)
                if request is not None:
                    _until_answered(port, request, process)
            except RuntimeError as error:
                last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it wrote nothing"]
                raise RuntimeError(f"{error}: {last[0][-200:]} ({log})") from None
            yield process.pid
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it ended by itself
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _until_answered(port: int, request: bytes, process: subprocess.Popen[bytes]) -> None:
    """Until the model is loaded: some servers listen before."""
    end_s = time.monotonic() + START_S
    while time.monotonic() < end_s and process.poll() is None:
        try:
            if not one_by_one(port, request, 0.0).failed:
                return
        except OSError:
            pass
        time.sleep(0.5)
    raise RuntimeError("the server does not answer")
