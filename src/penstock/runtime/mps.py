"""NVIDIA's multi-process service for the time of a measurement: workers of one device then run side by side.

The daemon is started on folders of its own and ended afterwards, so that one that runs already is left alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from penstock.errors import BadInputError

CONTROL = "nvidia-cuda-mps-control"
_TIMEOUT_S = 20.0


@contextmanager
def multi_process_service() -> Iterator[None]:
    """Processes started inside use the service. Raises :class:`BadInputError` if it is not there or does not start."""
    control = shutil.which(CONTROL)
    if control is None:
        raise BadInputError(
            f"--mps: {CONTROL} is not on the PATH. It comes with NVIDIA's driver; leave out --mps to measure processes "
            f"that take turns on the device."
        )
    folder = tempfile.mkdtemp(prefix="penstock-mps-")
    ours = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    before = {name: os.environ.get(name) for name in ours}
    os.environ |= ours
    try:
        _tell(control, ["-d"])
        try:
            yield
        finally:
            _tell(control, [], "quit\n")
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


def _tell(control: str, arguments: list[str], text: str = "") -> None:
    try:
        done = subprocess.run(
            [control, *arguments], input=text, text=True, capture_output=True, timeout=_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise BadInputError(
            f"--mps: {control} did not answer within {_TIMEOUT_S:.0f} s. Leave out --mps."
        ) from None
    if done.returncode:
        words = (done.stderr or done.stdout).strip() or f"status {done.returncode}"
        raise BadInputError(
            f"--mps: {control} {' '.join(arguments)}: {words}. Leave out --mps, or mend the service."
        )
