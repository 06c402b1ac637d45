"""A child process: two models on one device, alone and at once: threads with own streams, processes, MPS.

Nothing of the device is changed. The multi-process service, if its daemon is there, is started for this section on
a folder of its own, and ended with it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from gpu_parts.common import Json, quantiles, torch_settings

BATCH = 4


def prepared(path: str, device: str, precision: str, image_size: int) -> Any:
    import onnx

    from penstock.runtime.torch_runner import TorchRunner

    runner = TorchRunner(onnx.load(path), torch_settings(device, precision))
    images = np.random.default_rng(0).standard_normal((BATCH, 3, image_size, image_size)).astype(np.float32)
    feeds = {runner.inputs[0]: images}
    runner.run(feeds)
    return lambda: runner.run(feeds)


def loop(run: Any, seconds: float) -> Json:
    times: list[float] = []
    start = time.perf_counter()
    while time.perf_counter() - start < seconds or len(times) < 3:
        before = time.perf_counter()
        run()
        times.append((time.perf_counter() - before) * 1e6)
    took = time.perf_counter() - start
    return {**quantiles(times), "samples_per_s": round(BATCH * len(times) / took, 1)}


def by_threads(models: list[tuple[str, int]], device: str, precision: str, seconds: float) -> Json:
    runs = [prepared(path, device, precision, size) for path, size in models]
    alone = [loop(run, seconds) for run in runs]
    both: list[Json] = [{}, {}]

    def work(index: int) -> None:
        both[index] = loop(runs[index], seconds)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"alone": alone, "both": both}


def work_in_process(
    index: int, path: str, device: str, precision: str, size: int, seconds: float, barrier: Any, results: Any
) -> None:
    try:
        run = prepared(path, device, precision, size)
        found = []
        for phase in ("first", "second", "both"):
            barrier.wait(90)
            if phase == "both" or (phase == "first") == (index == 0):
                found.append(loop(run, seconds))
        results.put((index, found, None))
    except Exception as error:
        barrier.abort()
        results.put((index, [], f"{type(error).__name__}: {error}"))


def by_processes(models: list[tuple[str, int]], device: str, precision: str, seconds: float) -> Json:
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.Queue()
    processes = [
        context.Process(
            target=work_in_process,
            args=(index, path, device, precision, size, seconds, barrier, results),
            daemon=True,
        )
        for index, (path, size) in enumerate(models)
    ]
    for process in processes:
        process.start()
    found = sorted((results.get(timeout=120) for _ in processes), key=lambda one: one[0])
    for process in processes:
        process.join(10)
    failed = [error for _, _, error in found if error]
    if failed:
        raise RuntimeError("; ".join(failed))
    return {"alone": [one[1][0] for one in found], "both": [one[1][1] for one in found]}


def under_mps(models: list[tuple[str, int]], device: str, precision: str, seconds: float) -> Json:
    control = shutil.which("nvidia-cuda-mps-control")
    if control is None:
        return {"skipped": "nvidia-cuda-mps-control is not there"}
    folder = tempfile.mkdtemp(prefix="mps-")
    os.environ |= {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
    subprocess.run([control, "-d"], check=True, timeout=20, capture_output=True)
    try:
        return by_processes(models, device, precision, seconds)
    finally:
        subprocess.run([control], input="quit\n", text=True, timeout=20, capture_output=True, check=False)
        logs = "".join(path.read_text(errors="replace")[-500:] for path in Path(folder).glob("*.log"))
        print(logs)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--how", choices=("streams", "processes", "mps"), required=True)
    parser.add_argument("--models", required=True, help="path:size,path:size")
    parser.add_argument("--device", required=True)
    parser.add_argument("--precision", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    a = parser.parse_args()
    models = [(part.rpartition(":")[0], int(part.rpartition(":")[2])) for part in a.models.split(",")]
    how = {"streams": by_threads, "processes": by_processes, "mps": under_mps}[a.how]
    print(json.dumps(how(models, a.device, a.precision, a.seconds)))


if __name__ == "__main__":
    main()
