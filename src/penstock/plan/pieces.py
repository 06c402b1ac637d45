"""Pieces: what a worker holds in memory, apart from where it sits and in which pipeline it serves.

Two workers with equal pieces can stand in for each other without loading anything, whatever their batch
and their pipeline.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.plan.plan import Plan


class Piece(NamedTuple):
    """Blocks ``[start, stop)`` of a ``model`` of ``blocks`` blocks, on 1/``share`` of a ``device_class`` device.

    The number of blocks keeps the pieces of one partition of a model apart from those of another.
    """

    model: str
    start: int
    stop: int
    blocks: int
    device_class: str
    share: int

    def __str__(self) -> str:
        part = "" if self.share == 1 else f" 1/{self.share}"
        return f"{self.model} [{self.start}, {self.stop}) on {self.device_class}{part}"


class Running(NamedTuple):
    """A piece loaded on a device, which counts from 0 within the piece's device class."""

    piece: Piece
    device: int


def running_workers(plan: Plan) -> list[Running]:
    """Every worker of ``plan``, in worker order."""
    models = {model.name: model for model in plan.models}
    workers = []
    for worker in plan.placement:
        pipeline = models[worker.model].pipelines[worker.pipeline]
        start, stop = pipeline.stages[worker.stage].blocks
        piece = Piece(
            worker.model, start, stop, pipeline.stages[-1].blocks[1], worker.device_class, worker.share
        )
        workers.append(Running(piece, worker.device))
    return workers
