"""The nodes of a graph that its outputs need, each after those that it reads: files need not be so."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

import onnx


def keep_needed_in_order(graph: onnx.GraphProto) -> int:
    """Leave the needed nodes of ``graph`` in a topological order, the file's own if that is one.

    Returns how many nodes were dropped. If nodes need each other in a circle, nothing is changed.
    """
    nodes = list(graph.node)
    producer = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = [sorted({producer[name] for name in reads_of(node) if name in producer}) for node in nodes]
    needed: set[int] = set()
    open_nodes = [producer[one.name] for one in graph.output if one.name in producer]
    while open_nodes:
        index = open_nodes.pop()
        if index not in needed:
            needed.add(index)
            open_nodes += needs[index]
    users: dict[int, list[int]] = {}
    waits_for = {index: len(needs[index]) for index in needed}
    for index in needed:
        for before in needs[index]:
            users.setdefault(before, []).append(index)
    ready = [index for index, count in waits_for.items() if not count]
    heapq.heapify(ready)
    order = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users.get(index, ()):
            waits_for[user] -= 1
            if not waits_for[user]:
                heapq.heappush(ready, user)
    if len(order) < len(needed):
        return 0
    if order != list(range(len(nodes))):
        kept = [nodes[index] for index in order]
        del graph.node[:]
        graph.node.extend(kept)
    return len(nodes) - len(order)


def reads_of(node: onnx.NodeProto) -> Iterator[str]:
    """The tensors that ``node`` reads: its inputs, and what its subgraphs take from outside of them."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from _captured(graph)


def _captured(graph: onnx.GraphProto) -> Iterator[str]:
    own = {each.name for each in (*graph.input, *graph.initializer)}
    own |= {name for node in graph.node for name in node.output}
    for node in graph.node:
        yield from (name for name in reads_of(node) if name not in own)
    yield from (each.name for each in graph.output if each.name not in own and each.name)


def inputs_that_choose(graph: onnx.GraphProto) -> list[str]:
    """The inputs whose *values* decide which branch an If operator takes, in the order of the graph.

    What only the shape of an input decides is not among them. Shape and Size read no values.
    """
    producer = {name: node for node in graph.node for name in node.output if name}
    wanted = [node.input[0] for node in graph.node if node.op_type == "If" and not node.domain]
    seen: set[str] = set()
    while wanted:
        name = wanted.pop()
        if name not in seen:
            seen.add(name)
            node = producer.get(name)
            if node is not None and node.op_type not in ("Shape", "Size"):
                wanted += reads_of(node)
    weights = {each.name for each in graph.initializer}
    return [each.name for each in graph.input if each.name in seen and each.name not in weights]
