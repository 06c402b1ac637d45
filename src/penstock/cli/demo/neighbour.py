"""A busy neighbour: the machine is measured in the state in which it will serve.

A worker alone on an idle machine has all its memory bandwidth and cache. During service, the slow class's workers,
the gateway and the load generator keep the other core about half busy. Near saturation, a profile that is
10% too fast doubles the queue.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from penstock.profile.measuring.session import open_session
from penstock.serve.spec import PADDED_NICENESS

if TYPE_CHECKING:
    from multiprocessing.synchronize import Event


@contextmanager
def busy_neighbour(onnx_file: Path, shape: tuple[int, ...]) -> Iterator[None]:
    """Inside the context, another process runs the model half of the time, on inputs of ``shape``."""
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    process = context.Process(target=_keep_busy, args=(onnx_file, shape, stop), daemon=True)
    process.start()
    try:
        yield
    finally:
        stop.set()
        process.join()


def _keep_busy(onnx_file: Path, shape: tuple[int, ...], stop: Event) -> None:
    os.nice(PADDED_NICENESS)  # as the slow class's workers are
    session = open_session(onnx_file)
    feed = {session.get_inputs()[0].name: np.zeros(shape, np.float32)}
    while not stop.is_set():
        began = time.monotonic()
        session.run(None, feed)
        stop.wait(time.monotonic() - began)
