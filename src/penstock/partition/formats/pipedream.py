"""Pipedream graphs: profiled layer graphs as text, as published with Narayanan et al., "PipeDream", SOSP 2019.

    node1 -- Conv2d(3, 64) -- forward_compute_time=1.5, ..., activation_size=1024.0, ...
    <tab>node1 -- node2

Times are milliseconds, sizes are bytes (a list ``[a; b]`` of sizes adds up). Only the forward pass is read. Every
node makes one tensor, its activation. The model has no inputs or outputs here, so its ends cost nothing.
"""

from __future__ import annotations

import re
from pathlib import Path

from penstock.errors import BadInputError
from penstock.files import read_text
from penstock.partition.formats.graph_file import GraphFile
from penstock.partition.problem import TensorUse, make_problem
from penstock.units import US_PER_MS, transfer_us

_SEPARATOR = " -- "
_FIELD = re.compile(r"(\w+)=(\[[^\]]*\]|[^,\s]+)")


def read_pipedream(path: Path, bandwidth_gbps: float) -> GraphFile:
    """The problem in ``path``, in microseconds. Transfers are at ``bandwidth_gbps``.

    Raises :class:`BadInputError`, which names the line, for a line of another form, a missing or negative number, a
    repeated node, and an edge whose end is not a node. Also for a cycle.
    """
    index: dict[str, int] = {}
    names: list[str] = []
    work_us: list[float] = []
    time_us: list[float] = []
    edges: list[tuple[str, str, str]] = []
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        where = f"{path}: line {number}"
        parts = line.strip().split(_SEPARATOR)
        if not line.strip():
            continue
        if line.startswith("\t") and len(parts) == 2:
            edges.append((parts[0].strip(), parts[1].strip(), where))
        elif not line.startswith("\t") and len(parts) >= 3:
            if parts[0] in index:
                raise BadInputError(f"{where}: {parts[0]} stands twice. Give each node its own name.")
            index[parts[0]] = len(names)
            names.append(f"{parts[0]} {parts[1]}")
            fields = dict(_FIELD.findall(parts[-1]))
            work_us.append(_number(fields, "forward_compute_time", where) * US_PER_MS)
            time_us.append(transfer_us(_number(fields, "activation_size", where), bandwidth_gbps))
        else:
            raise BadInputError(
                f"{where}: unknown format: {line.strip()[:60]!r} is neither 'node -- description -- key=value, ...' "
                f"nor a tab and 'node -- node'. Correct the line."
            )
    users = _users(index, edges)
    tensors = [TensorUse(maker, tuple(users[maker]), time_us[maker]) for maker in sorted(users)]
    return GraphFile(make_problem(path.stem, names, work_us, tensors), "us")


def _users(index: dict[str, int], edges: list[tuple[str, str, str]]) -> dict[int, list[int]]:
    users: dict[int, list[int]] = {}
    for source, target, where in edges:
        for end in (source, target):
            if end not in index:
                raise BadInputError(f"{where}: {end!r} is no node. Add the node or remove the edge.")
        users.setdefault(index[source], []).append(index[target])
    return users


def _number(fields: dict[str, str], key: str, where: str) -> float:
    text = fields.get(key)
    if text is None:
        raise BadInputError(f"{where}: {key!r} is missing. Add it.")
    try:
        values = [float(part) for part in text.strip("[]").split(";") if part.strip()]
    except ValueError:
        raise BadInputError(f"{where}: {key!r} (={text!r}) must be a number. Correct it.") from None
    if not all(0 <= value < float("inf") for value in values):
        raise BadInputError(
            f"{where}: {key!r} (={text!r}) is a negative or endless cost, but must be >= 0. Correct it."
        )
    return sum(values)
