"""A child process: a tensor from one worker's device memory to another worker's, through the host and by CUDA IPC.

Host: to pinned memory, through a zmq socket, into pinned memory, to the device: what the server does today. IPC: the
receiver opens the sender's buffer once (cudaIpcOpenMemHandle, by torch.multiprocessing) and copies on the device.
Each figure is one way and includes the receiver's word that it has the data; ``signal`` is that word alone.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
import zmq

from gpu_parts.common import Json, quantiles
from penstock.serve.transport.allocator import keep_large_blocks

REPEATS = 40


def synchronize(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


def receive(device: str, sizes: list[int], endpoint: str, inbox: Any, pipe: Any) -> None:
    try:
        keep_large_blocks()  # as the server's processes do
        on_gpu = device != "cpu"
        socket = zmq.Context().socket(zmq.PAIR)
        socket.connect(endpoint)
        buffers = inbox.get(timeout=90)
        mine = [torch.empty(size, dtype=torch.uint8, device=device) for size in sizes]
        pinned = [torch.empty(size, dtype=torch.uint8, pin_memory=on_gpu) for size in sizes]
        pipe.send("ready")
        while (word := pipe.recv()) != "end":
            way, index = word
            if way == "host":
                frame = socket.recv(copy=False)
                np.copyto(pinned[index].numpy(), np.frombuffer(frame.buffer, np.uint8))
                mine[index].copy_(pinned[index], non_blocking=True)
            elif way == "ipc":
                mine[index].copy_(buffers[index], non_blocking=True)
            synchronize(device)
            pipe.send(int(mine[index][-1]))
        del buffers
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


def all_sizes(device: str, sizes: list[int]) -> list[Json]:
    context = mp.get_context("spawn")
    ours, theirs = context.Pipe()
    inbox = context.Queue()
    endpoint = f"ipc://{tempfile.mkdtemp(prefix='hop-')}/socket"
    socket: Any = zmq.Context.instance().socket(zmq.PAIR)
    socket.bind(endpoint)
    process = context.Process(target=receive, args=(device, sizes, endpoint, inbox, theirs), daemon=True)
    process.start()
    buffers = [torch.zeros(size, dtype=torch.uint8, device=device) for size in sizes]
    inbox.put(buffers)
    try:
        first = ours.recv() if ours.poll(90) else "no word in 90 s"
        if first != "ready":
            raise RuntimeError(f"the receiver did not start: {first}")
        rows = [one_size(device, index, buffers[index], socket, ours) for index in range(len(sizes))]
        ours.send("end")
        process.join(10)
    finally:
        if process.is_alive():
            process.terminate()
        socket.close(0)
    return rows


def one_size(device: str, index: int, data: torch.Tensor, socket: Any, pipe: Any) -> Json:
    pinned = torch.empty(data.shape, dtype=torch.uint8, pin_memory=device != "cpu")
    found: Json = {"bytes": data.numel()}
    for way in ("signal", "host", "ipc"):
        times = []
        for repeat in range(REPEATS):
            data.fill_(repeat % 200)
            synchronize(device)
            start = time.perf_counter()
            if way == "host":
                pinned.copy_(data, non_blocking=True)
                synchronize(device)
            pipe.send((way, index))
            if way == "host":
                socket.send(memoryview(pinned.numpy()), copy=False)
            if not pipe.poll(30):
                raise RuntimeError(f"no answer to {way}")
            got = pipe.recv()
            times.append((time.perf_counter() - start) * 1e6)
            if isinstance(got, str) or (way != "signal" and got != repeat % 200):
                raise RuntimeError(f"{way}: sent {repeat % 200}, got {got}")
        found[way] = quantiles(times[5:])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--sizes", required=True)
    a = parser.parse_args()
    keep_large_blocks()
    print(json.dumps({"rows": all_sizes(a.device, [int(size) for size in a.sizes.split(",")])}))


if __name__ == "__main__":
    main()
