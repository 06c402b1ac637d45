"""A child process: zoo models through the torch executor, against a bare torch loop on the same device.

The bare loop is the model of that name in torchvision, in one CUDA graph: nothing of Penstock is in it. ``device``
figures are replays back to back; ``host`` figures begin and end in the host's memory, as a worker runs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from gpu_parts.common import Json, quantiles, torch_settings
from penstock.runtime.settings import RuntimeSettings
from penstock.runtime.torch_device import apply_switches
from penstock.runtime.torch_runner import Staged, TorchRunner

Loop = Callable[[], object]


def measure(launch: Loop, wait: Loop, batch: int, seconds: float) -> Json:
    """Samples a second of ``launch`` again and again, waiting every fourth time only."""
    for _ in range(2):
        launch()
    wait()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        for _ in range(4):
            launch()
        wait()
        count += 4
    took = time.perf_counter() - start
    return {"samples_per_s": round(batch * count / took, 1), "batch_us": round(took / count * 1e6, 1)}


def measure_each(run: Callable[[], Any], seconds: float, gap_s: float = 0.0) -> Json:
    """Quantiles of single runs, ``gap_s`` apart."""
    times: list[float] = []
    run()
    stop = time.perf_counter() + seconds
    while time.perf_counter() < stop or len(times) < 5:
        time.sleep(gap_s)
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) * 1e6)
    return quantiles(times)


def ours(runner: TorchRunner, images: np.ndarray, seconds: float) -> Json:
    feeds = {runner.inputs[0]: images}
    found: Json = {"host": measure_each(lambda: runner.run(feeds), seconds)}
    if runner._on_gpu:
        staged = runner.staged([images])
        found["device"] = measure(staged.launch, torch.cuda.synchronize, len(images), seconds)
        found["parts"] = parts(staged, images)
        # As a worker joins the requests of a batch: in the pinned memory itself.
        expected, there = staged.run([images])[0], staged.place(0, len(images))
        there[:] = 0.0
        staged.run([there])
        np.copyto(there, images)
        found["joined in place is equal"] = bool(np.array_equal(staged.run([there])[0], expected))
        memory = runner.memory()
        found["memory"] = None if memory is None else vars(memory)
    else:
        bound = runner.bind(feeds)
        found["device"] = measure(bound.run, lambda: None, len(images), seconds)
    found["host"]["samples_per_s"] = round(len(images) / found["host"]["p50_us"] * 1e6, 1)
    return found


def parts(staged: Staged, images: np.ndarray) -> Json:
    """Medians of a worker's run in us, each waited for: to pinned memory and the device, the device, and back."""
    times = []
    for _ in range(20):
        moments = [time.perf_counter()]
        for step in (lambda: staged.put([images]), staged.launch, staged.take):
            step()
            torch.cuda.synchronize()
            moments.append(time.perf_counter())
        times.append(np.diff(moments) * 1e6)
    names = ("to device", "device", "from device")
    return {name: round(float(us), 1) for name, us in zip(names, np.median(times, axis=0), strict=True)}


def ways_in(device: str, size: int) -> Json:
    """Medians in us of bringing ``size`` bytes of ordinary memory to the device, in several ways."""
    host = np.ones(size, np.uint8)
    pinned = torch.empty(size, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(size, dtype=torch.uint8, device=device)
    chunk = 1 << 20

    def pieces() -> None:
        for at in range(0, size, chunk):
            np.copyto(pinned[at : at + chunk].numpy(), host[at : at + chunk])
            there[at : at + chunk].copy_(pinned[at : at + chunk], non_blocking=True)

    def threads() -> None:
        pinned.copy_(torch.from_numpy(host))
        there.copy_(pinned, non_blocking=True)

    def staged() -> None:
        np.copyto(pinned.numpy(), host)
        there.copy_(pinned, non_blocking=True)

    ways: dict[str, Loop] = {
        "pinned already": lambda: there.copy_(pinned, non_blocking=True),
        "through pinned": staged,
        "through pinned by 1 MiB": pieces,
        "through pinned, 4 threads": threads,
        "ordinary memory": lambda: there.copy_(torch.from_numpy(host)),
    }
    found: Json = {"bytes": size}
    for name, way in ways.items():
        torch.set_num_threads(4 if "threads" in name else 1)
        times = []
        for _ in range(12):
            torch.cuda.synchronize()
            start = time.perf_counter()
            way()
            torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1e6)
        found[name] = round(float(np.median(times)), 1)
    torch.set_num_threads(1)
    return found


def bare(name: str, images: np.ndarray, settings: RuntimeSettings, seconds: float) -> Json:
    import torchvision

    apply_switches(settings)
    on_gpu = settings.device != "cpu"
    layout = torch.channels_last if on_gpu and settings.precision != "fp32" else torch.contiguous_format
    dtype = torch.float16 if settings.precision == "fp16" else torch.float32
    model = getattr(torchvision.models, name)(weights=None).eval()
    model = model.to(settings.device, dtype=dtype, memory_format=layout)
    host = torch.from_numpy(images)
    with torch.inference_mode():
        if not on_gpu:
            found: Json = {"device": measure(lambda: model(host), lambda: None, len(images), seconds)}
            return {**found, "host": measure_each(lambda: model(host), seconds)}
        pinned = host.pin_memory()
        static = pinned.to(settings.device)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):

            def forward() -> torch.Tensor:
                made: torch.Tensor = model(static.to(dtype=dtype, memory_format=layout))
                return made.float()

            for _ in range(5):
                forward()
            stream.synchronize()
            graph = torch.cuda.CUDAGraph()
            graph.capture_begin()
            made = forward()
            graph.capture_end()
            back = torch.empty(made.shape, pin_memory=True)

            def whole() -> None:
                static.copy_(pinned, non_blocking=True)
                graph.replay()
                back.copy_(made, non_blocking=True)
                stream.synchronize()

            made_of: Json = {
                "device": measure(graph.replay, stream.synchronize, len(images), seconds),
                "host": measure_each(whole, seconds),
            }
            if len(images) == 1 and settings.precision == "fp32":
                # As often as requests come one at a time: clocks and caches are then not those of a busy loop.
                made_of["spaced"] = measure_each(whole, 2.0, gap_s=0.05)
            return made_of


def distance_to_onnxruntime(path: Path, runner: TorchRunner, images: np.ndarray) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {runner.inputs[0]: images})[0]
    made = runner.run({runner.inputs[0]: images})[runner.outputs[0]]
    return float(np.abs(made - expected).max() / np.abs(expected).max())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", required=True, help="path:size,path:size")
    parser.add_argument("--device", required=True)
    parser.add_argument("--precisions", required=True)
    parser.add_argument("--seconds", type=float, required=True)
    a = parser.parse_args()
    on_gpu = a.device != "cpu"
    rng = np.random.default_rng(0)
    rows = []
    models = [(Path(part.rpartition(":")[0]), int(part.rpartition(":")[2])) for part in a.models.split(",")]
    for model, image_size in models:
        for precision in a.precisions.split(","):
            settings = torch_settings(a.device, precision)
            runner = TorchRunner(onnx.load(str(model)), settings)
            for batch in (1, 8):
                images = rng.standard_normal((batch, 3, image_size, image_size)).astype(np.float32)
                row: Json = {"model": model.stem, "precision": precision, "batch": batch}
                start = time.perf_counter()
                runner.run({runner.inputs[0]: images})
                row["ready_s"] = round(time.perf_counter() - start, 2)
                row["ours"] = ours(runner, images, a.seconds)
                if batch == 1:
                    row["distance_to_onnxruntime"] = distance_to_onnxruntime(model, runner, images)
                try:
                    row["bare"] = bare(model.stem, images, settings, a.seconds)
                except Exception as error:
                    row["bare_failed"] = f"{type(error).__name__}: {error}"[:300]
                rows.append(row)
    facts: Json = {"torch": torch.__version__}
    if on_gpu:
        properties = torch.cuda.get_device_properties(0)
        facts |= {
            "device": properties.name,
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }
        facts["ways_in"] = [ways_in(a.device, size) for size in (602_112, 4_816_896, 33_554_432)]
    print(json.dumps({"facts": facts, "rows": rows}))


if __name__ == "__main__":
    main()
