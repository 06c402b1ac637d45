"""A worker's process: the pieces of its pool on one share of a device. It takes batches in the order they come in,
runs the piece that each asks for, and sends it straight to the next worker of its route, or back to the gateway."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import final

import msgspec
import zmq

from penstock.clock import MonotonicClock
from penstock.serve.control import ControlLine, Ready, end_with_supervisor
from penstock.serve.executor.make import make_executors
from penstock.serve.messages import BatchHeader, StageDone, StageFailed
from penstock.serve.protocol.infer import Tensor
from penstock.serve.spec import read_spec
from penstock.serve.transport import (
    WorkerLinks,
    connect,
    dispatcher_endpoint,
    gateway_endpoint,
    listen,
    read_tensors,
    send,
    tensor_frames,
    tensor_headers,
    worker_endpoint,
)

Arrived = tuple[int, list[zmq.Frame]]

PADDED_NICENESS = 10
"""A padded worker has time to spare, and stands in for a device that would not take this machine's cores:
it computes when the workers that are not held leave a core free."""


def run_worker(folder: Path, line: ControlLine, worker: int, life: int) -> None:
    """Serve batches until the supervisor ends it."""
    running = _Worker(folder, worker)
    endpoint = worker_endpoint(folder, worker, life)
    inbox: queue.SimpleQueue[Arrived] = queue.SimpleQueue()
    threading.Thread(target=_receive, args=(endpoint, inbox, line), daemon=True).start()
    end_with_supervisor(line)
    while True:
        running.serve(*inbox.get())


def _receive(endpoint: str, inbox: queue.SimpleQueue[Arrived], line: ControlLine) -> None:
    """Note when each batch comes in, also while another runs: a thread of its own."""
    clock = MonotonicClock()
    socket = listen(zmq.Context.instance(), endpoint)
    line.send(Ready(endpoint))
    while True:
        frames = socket.recv_multipart(copy=False)
        inbox.put((clock.now_us(), frames))


@final
class _Worker:
    """The executors of the pieces and the sockets to the peers."""

    def __init__(self, folder: Path, worker: int) -> None:
        self._spec = spec = read_spec(folder)
        self._worker = worker
        stages = [spec.stages[stage] for stage in spec.worker_stages[worker]]
        # Kinds go by device class, so a worker has one.
        if stages[0].executor == "padded":
            os.nice(PADDED_NICENESS)
        self._executors = make_executors(stages)
        self._clock = MonotonicClock()
        self._decoder: msgspec.msgpack.Decoder[BatchHeader] = msgspec.msgpack.Decoder(BatchHeader)
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._dispatcher = connect(context, dispatcher_endpoint(folder))
        self._gateway = connect(context, gateway_endpoint(folder))
        self._peers = WorkerLinks(context)

    def serve(self, queued_us: int, frames: Sequence[zmq.Frame]) -> None:
        """Run one batch and pass it on; a failure of the executor fails the batch, not the worker."""
        header = self._decoder.decode(frames[0].buffer)
        start_us = self._clock.now_us()
        try:
            outputs = self._execute(header, frames)
        except Exception as error:
            message = f"worker {self._worker} could not run the batch: {type(error).__name__}: {error}"
            send(self._dispatcher, StageFailed(header.batch, self._worker, message))
            return
        end_us = self._clock.now_us()
        self._pass_on(header, outputs, end_us, end_us - start_us)
        send(
            self._dispatcher,
            StageDone(
                batch=header.batch,
                pipeline=header.pipeline,
                stage=header.stage,
                worker=self._worker,
                size=header.size,
                queued_us=queued_us,
                start_us=start_us,
                end_us=end_us,
                transfer_us=queued_us - header.sent_us,
            ),
        )

    def _execute(self, header: BatchHeader, frames: Sequence[zmq.Frame]) -> list[Tensor]:
        stage = self._spec.stage_at(header.pipeline, header.stage)
        inputs = {tensor.name: tensor for tensor in read_tensors(header, frames[1:])}
        arrays = {name: tensor.array for name, tensor in inputs.items()}
        computed = self._executors[stage.piece].run(arrays, header.size)
        made = [Tensor(spec.name, spec.datatype, computed[spec.name]) for spec in stage.computed]
        return made + [inputs[spec.name] for spec in stage.forwarded]

    def _pass_on(self, header: BatchHeader, outputs: list[Tensor], now_us: int, compute_us: int) -> None:
        stage = header.stage + 1
        onward = BatchHeader(
            batch=header.batch,
            pipeline=header.pipeline,
            route=header.route,
            stage=stage,
            size=header.size,
            sent_us=now_us,
            compute_us=header.compute_us + compute_us,
            parts=(header.size,),
            tensors=tensor_headers([outputs]),
        )
        is_last = stage == len(header.route)
        socket = self._gateway if is_last else self._peers.to(header.route[stage])
        send(socket, onward, tensor_frames([outputs]))
