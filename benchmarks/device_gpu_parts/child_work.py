"""What the children do: see :mod:`device_gpu_parts.children` for how they are spoken to."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from typing import Any

import torch

from device_gpu_parts.children import answer, orders
from device_gpu_parts.devices import open_device
from device_gpu_parts.green import GreenSide, halves, import_driver
from device_gpu_parts.loaded import Bench, Loaded, Scale, load_one, make_source
from device_gpu_parts.runs import Direct, run
from device_gpu_parts.trace import lognormal_trace
from penstock.serve.scheduled.cuda import CudaStreams

GREEN_STREAMS = 8


def serve_one_model() -> None:
    """A model in a process of its own: loads it, says so, and runs its part of each trace that it is sent."""
    told = orders()
    which = told["which"]
    loaded = load_one(open_device(told["cpu"]), which, told["dtype"])
    answer({"ready": which, "alone_us": round(loaded.whole_us[0], 1)})
    while True:
        told = orders()
        # What counts as in time is the same for everyone: by the time that the parent measured.
        loaded.whole_us = tuple(told["whole_us"])[which], tuple(told["whole_us"])[which]
        trace = lognormal_trace(told["rate_rps"], told["sigma"], told["n"], told["long_share"], told["seed"])
        mode = Direct("many-streams")
        row = run(loaded, trace.of(which), mode, limit_s=told["limit_s"], start_us=told["start_us"])
        answer(row)


class _GreenStreams:
    """The GPU as one green context shows it: streams of that context, all else as ever."""

    def __init__(self, side: GreenSide) -> None:
        self._device = CudaStreams()
        self.own = [torch.cuda.ExternalStream(handle) for handle in side.handles]

    def streams(self, count: int, priority: int = 0) -> Sequence[Any]:
        return [self.own[at % len(self.own)] for at in range(count)]

    def warm_up(self, segment: Any, tensor: Any) -> Any:
        """On a stream of the context: libraries choose their kernels for the multiprocessors that they see."""
        with torch.no_grad(), torch.cuda.stream(self.own[0]):
            for _ in range(3):
                output = segment(tensor)
        self.own[0].synchronize()
        return output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


def green_contexts() -> None:
    """Each model on half of the multiprocessors, launched on arrival."""
    told = orders()
    driver = import_driver()
    device = open_device(False)
    torch.zeros(1, device="cuda")  # the primary context, of which green ones are parts
    halved = halves(driver, 0, GREEN_STREAMS)
    sides = [_GreenStreams(side) for side in halved]
    sources = [make_source(side, which, told["dtype"]) for which, side in enumerate(sides)]
    models = [
        source.load(source.whole, copies)
        for source, copies in zip(sources, Scale.of(device).copies, strict=True)
    ]
    alone_us = [Bench(side).median_us(model) for side, model in zip(sides, models, strict=True)]
    short, long = models
    own = (sides[0].own, sides[1].own)
    alone = (alone_us[0], alone_us[1])
    loaded = Loaded(told["dtype"], device, short, long, long, short, alone, None, (), [], 0.0, own)
    answer(
        {"ready": True, "sms": [side.sms for side in halved], "alone_us": [round(us, 1) for us in alone_us]}
    )
    while True:
        told = orders()
        loaded.whole_us = (told["whole_us"][0], told["whole_us"][1])
        trace = lognormal_trace(told["rate_rps"], told["sigma"], told["n"], told["long_share"], told["seed"])
        answer(run(loaded, trace, Direct("green-contexts"), limit_s=told["limit_s"]))


def drain() -> None:
    """How long 400 jobs of 8 one-block kernels take on 128 streams: the environment says on how many queues."""
    orders()
    torch.cuda.init()
    streams, made = _many_streams()
    answer({"ready": True})
    orders()
    cycles, jobs, kernels = 400_000, 400, 8
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(2):
        start.record()
        torch.cuda._sleep(cycles)
        end.record()
        torch.cuda.synchronize()
    began = time.perf_counter()
    for job in range(jobs):
        torch.cuda.set_stream(streams[job % len(streams)])
        for _ in range(kernels):
            torch.cuda._sleep(cycles)
    sent = time.perf_counter()
    torch.cuda.synchronize()
    queues = int(os.environ["CUDA_DEVICE_MAX_CONNECTIONS"])
    kernel_us = start.elapsed_time(end) * 1e3
    row = {
        "queues": queues,
        "streams": made,
        "kernel_us": round(kernel_us, 1),
        "jobs": jobs,
        "kernels_a_job": kernels,
        "sending_s": round(sent - began, 4),
        "drained_s": round(time.perf_counter() - began, 4),
        "one_at_a_time_over_queues_s": round(jobs * kernels * kernel_us / queues / 1e6, 4),
    }
    answer(row)


def _many_streams() -> tuple[list[Any], str]:
    """128 streams of the driver's; torch's own come from a pool of 32."""
    try:
        return _driver_streams(128), "128 of the driver's"
    except ImportError:
        return [torch.cuda.Stream() for _ in range(32)], "32 of torch's pool (no cuda.bindings)"


def _driver_streams(count: int) -> list[Any]:
    """New streams of the current context, which do not wait for the legacy stream (flag 1)."""
    from cuda.bindings import runtime

    handles = []
    for _ in range(count):
        status, handle = runtime.cudaStreamCreateWithFlags(1)
        if int(status) != 0:
            raise RuntimeError(f"cudaStreamCreateWithFlags: {status}")
        handles.append(int(handle))
    return [torch.cuda.ExternalStream(handle) for handle in handles]


CHILDREN = {"one-model": serve_one_model, "green": green_contexts, "drain": drain}
