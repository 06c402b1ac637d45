"""Pieces: what a worker holds in memory. Its device and its pipeline are not part of a piece.

Two workers with equal pieces can replace each other without loading anything, even if their batches and
pipelines differ. A worker holds one piece. If the plan shares its pools, a worker holds all pieces of its pool.
"""

from __future__ import annotations

from typing import NamedTuple

from penstock.plan.documents.plan import Plan
from penstock.plan.documents.shared_pools import PoolStage, pools_of


class Piece(NamedTuple):
    """Blocks ``[start, stop)`` of a ``model`` of ``blocks`` blocks, on 1/``share`` of a ``device_class`` device.

    The number of blocks distinguishes the pieces of different partitions of one model.
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
    """A piece that a worker holds, and the worker's device. Devices count from 0 within the piece's device class."""

    piece: Piece
    device: int


def running_pieces(plan: Plan) -> list[Running]:
    """Every piece of every worker of ``plan``, in worker order."""
    blocks = {model.name: model.pipelines[0].stages[-1].blocks[1] for model in plan.models}
    held: dict[tuple[str, int, int], tuple[Piece, ...]] = {}
    for pool in pools_of(plan):
        pieces = tuple(dict.fromkeys(_piece(stage, blocks[stage.model]) for stage in pool.stages))
        held |= {(stage.model, stage.pipeline, stage.place): pieces for stage in pool.stages}
    return [
        Running(piece, worker.device)
        for worker in plan.placement
        for piece in held[worker.model, worker.pipeline, worker.stage]
    ]


def _piece(stage: PoolStage, blocks: int) -> Piece:
    return Piece(stage.model, *stage.plan.blocks, blocks, stage.plan.device_class, stage.plan.share)
