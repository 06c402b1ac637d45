"""Placement graphs: JSON with ``nodes`` and ``edges``, as published with Tarnawski et al., NeurIPS 2020.

A node has an ``id``, a ``name`` and ``fpgaLatency``, its time on an accelerator in milliseconds. An edge has
``sourceId``, ``destId`` and ``cost``, the transfer time. It is the same for all edges out of one node, because each
node makes one tensor. Nodes of one ``colorClass`` must share a block and become one operator.
``maxFPGAs`` is the number of blocks. The CPU and the memory of that problem are not read. The model has no inputs or
outputs here, so its ends cost nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from penstock.errors import BadInputError
from penstock.files import read_json
from penstock.partition.colocate import colocated
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.problem import TensorUse, make_problem

_SAME_COST = 1e-9


def read_placement(path: Path) -> GraphFile:
    """The problem in ``path``, in milliseconds, with its ``maxFPGAs``.

    Raises :class:`BadInputError` for missing or negative numbers, a repeated id, an edge whose end is not a node,
    different costs out of one node, and a cycle.
    """
    document = read_json(path)
    if not isinstance(document, dict) or not all(
        isinstance(document.get(key), list) for key in ("nodes", "edges")
    ):
        raise BadInputError(
            f"{path}: unknown format: a placement graph has lists 'nodes' and 'edges'. Add them."
        )
    index: dict[Any, int] = {}
    names, work = [], []
    for at, node in enumerate(document["nodes"]):
        where = f"{path}: nodes[{at}]"
        identity = _field(node, "id", where)
        if identity in index:
            raise BadInputError(f"{where}: id {identity!r} stands twice. Give each node its own.")
        index[identity] = at
        names.append(str(node.get("name", identity)))
        work.append(_number(node, "fpgaLatency", where))
    if len(set(names)) < len(names):
        names = [f"{name} #{identity}" for name, identity in zip(names, index, strict=True)]
    problem = make_problem(path.stem, names, work, _tensors(path, document["edges"], index))
    colour_of = {name: _colour(node) for name, node in zip(names, document["nodes"], strict=True)}
    colours = [colour_of[name] for name in problem.operators]
    merged = colocated(problem, colours) if len(set(colours)) < len(colours) else problem
    return GraphFile(merged, "ms", _shipped_k(path, document))


def _colour(node: dict[str, Any]) -> int | str | tuple[str, int | str]:
    colour: int | str | None = node.get("colorClass")
    return ("alone", node["id"]) if colour is None else colour


def _tensors(path: Path, edges: list[Any], index: dict[Any, int]) -> list[TensorUse]:
    users: dict[int, list[int]] = {}
    times: dict[int, float] = {}
    for at, edge in enumerate(edges):
        where = f"{path}: edges[{at}]"
        ends = []
        for key in ("sourceId", "destId"):
            identity = _field(edge, key, where)
            if identity not in index:
                raise BadInputError(
                    f"{where}: {key} {identity!r} is no node. Add the node or remove the edge."
                )
            ends.append(index[identity])
        time = _number(edge, "cost", where)
        known = times.setdefault(ends[0], time)
        if abs(time - known) > _SAME_COST * max(time, known):
            raise BadInputError(
                f"{where}: cost {time}, but another edge out of node {edge['sourceId']!r} costs {known}. A node makes "
                f"one tensor, so its edges cost the same: correct them."
            )
        users.setdefault(ends[0], []).append(ends[1])
    return [TensorUse(maker, tuple(users[maker]), times[maker]) for maker in users]


def _field(entry: Any, key: str, where: str) -> Any:
    if not isinstance(entry, dict) or not isinstance(entry.get(key), int | str):
        raise BadInputError(f"{where}: {key!r} is missing or no number or name. Add it.")
    return entry[key]


def _number(entry: Any, key: str, where: str) -> float:
    value = entry.get(key) if isinstance(entry, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadInputError(f"{where}: {key!r} (={value!r}) must be a number. Correct it.")
    if not 0 <= value < float("inf"):
        raise BadInputError(
            f"{where}: {key!r} (={value!r}) is a negative or endless cost, but must be >= 0. Correct it."
        )
    return float(value)


def _shipped_k(path: Path, document: dict[str, Any]) -> int | None:
    value = document.get("maxFPGAs")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadInputError(
            f"{path}: 'maxFPGAs' (={value!r}) must be a whole number >= 1. Correct or remove it."
        )
    return value
