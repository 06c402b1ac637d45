"""If operators whose condition follows from shapes and weights: the branch that is always taken replaces them.

Exporters write such operators for ``squeeze`` of an axis whose length they did not know, or for options that became
inputs. The condition must be the same at every batch that is observed, 1 included. Other control flow is refused,
because its cost depends on data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import onnx
from onnx import helper

from penstock.errors import BadInputError
from penstock.graph.reading.interpret import observe
from penstock.graph.reading.needed_nodes import keep_needed_in_order, reads_of
from penstock.graph.reading.normalise import normalise
from penstock.graph.reading.probe import Probe

ShapesAt = Callable[[int], Mapping[str, tuple[int, ...]]]
"""The shapes of the inputs at a batch."""


def inline_known_branches(proto: onnx.ModelProto, shapes_at: ShapesAt, batches: tuple[int, ...]) -> None:
    """Replace every If of ``proto``, which is in the normal form, and stays so.

    Raises :class:`BadInputError` for one whose condition is not known or depends on the batch, and for loops.
    """
    while (found := _first_with_subgraph(proto.graph)) is not None:
        node = proto.graph.node[found]
        if node.op_type != "If" or node.domain:
            raise BadInputError(
                f"operator {node.name!r} ({node.op_type}) has a subgraph, whose cost depends on data. Export the "
                f"model without control flow."
            )
        condition = _condition(proto, node, shapes_at, batches)
        wanted = "then_branch" if condition else "else_branch"
        branch = next(attribute.g for attribute in node.attribute if attribute.name == wanted)
        _replace(proto.graph, found, node, branch)
        normalise(proto)
        keep_needed_in_order(proto.graph)


def _first_with_subgraph(graph: onnx.GraphProto) -> int | None:
    for index, node in enumerate(graph.node):
        if any(attribute.HasField("g") or attribute.graphs for attribute in node.attribute):
            return index
    return None


def _condition(
    proto: onnx.ModelProto, node: onnx.NodeProto, shapes_at: ShapesAt, batches: tuple[int, ...]
) -> bool:
    name = node.input[0]
    part = _what_makes(proto, name)
    inputs = [each.name for each in part.graph.input]
    probe = Probe(part)
    values = []
    for batch in batches:
        shapes = shapes_at(batch)
        found = observe(part, {each: shapes[each] for each in inputs}, batch, probe).values.get(name)
        if found is None:
            read = ", ".join(f"--input {each}=VALUE" for each in inputs)
            advice = (
                f", or fix what it depends on if that is the same for all requests: {read}" if read else ""
            )
            raise BadInputError(
                f"operator {node.name!r} (If) chooses a subgraph by data, so its cost is not known. Export the model "
                f"without control flow{advice}."
            )
        values.append(bool(found.reshape(-1)[0]))
    if len(set(values)) > 1:
        raise BadInputError(
            f"operator {node.name!r} (If) takes another branch at batch {batches[values.index(not values[0])]} than "
            f"at batch {batches[0]}. Fix the batch with --dim, or export the model without control flow."
        )
    return values[0]


def _what_makes(proto: onnx.ModelProto, name: str) -> onnx.ModelProto:
    """The part of the model that computes tensor ``name``. It shares nothing with ``proto``."""
    part = onnx.ModelProto(ir_version=proto.ir_version, opset_import=proto.opset_import)
    part.graph.name = "condition"
    wanted = {name}
    nodes = []
    for node in reversed(proto.graph.node):
        if not wanted.isdisjoint(node.output):
            nodes.append(node)
            wanted.update(reads_of(node))
    part.graph.node.extend(nodes[::-1])
    part.graph.initializer.extend(each for each in proto.graph.initializer if each.name in wanted)
    part.graph.input.extend(each for each in proto.graph.input if each.name in wanted)
    part.graph.output.add(name=name)
    return part


def _replace(graph: onnx.GraphProto, index: int, node: onnx.NodeProto, branch: onnx.GraphProto) -> None:
    """Put the nodes of ``branch`` in the place of ``node``, with names that occur nowhere else."""
    taken = set(_all_names(graph))
    renamed: dict[str, str] = {}
    direct: dict[str, str] = {}
    for name in _defined(branch):
        fresh = f"{node.name}/{name}"
        while fresh in taken:
            fresh += "_"
        taken.add(fresh)
        renamed[name] = fresh
    made_inside = {name for each in branch.node for name in each.output}
    for made, wanted in zip(branch.output, node.output, strict=True):
        if wanted and made.name in made_inside and made.name not in direct:
            direct[made.name] = renamed[made.name] = wanted
    inner = [_copy(each) for each in branch.node]
    for each in inner:
        _rename(each, renamed)
    for weight in branch.initializer:
        graph.initializer.add().CopyFrom(weight)
        graph.initializer[-1].name = renamed[weight.name]
    for made, wanted in zip(branch.output, node.output, strict=True):
        if wanted and direct.get(made.name) != wanted:
            source = renamed.get(made.name, made.name)
            inner.append(helper.make_node("Identity", [source], [wanted], name=f"{node.name}/{wanted}"))
    nodes = [*graph.node[:index], *inner, *graph.node[index + 1 :]]
    copies = [_copy(each) for each in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _defined(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (weight.name for weight in graph.initializer)
    yield from (name for node in graph.node for name in node.output if name)


def _all_names(graph: onnx.GraphProto) -> Iterator[str]:
    yield from (each.name for each in (*graph.input, *graph.initializer))
    for node in graph.node:
        yield from (name for name in (*node.input, *node.output) if name)


def _rename(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    """Rename what ``node`` and its subgraphs read, and what ``node`` makes. Inner definitions hide outer names."""
    for names in (node.input, node.output):
        for position, name in enumerate(names):
            names[position] = renamed.get(name, name)
    for attribute in node.attribute:
        for graph in (*([attribute.g] if attribute.HasField("g") else ()), *attribute.graphs):
            own = {*_defined(graph), *(each.name for each in graph.input)}
            seen = {name: fresh for name, fresh in renamed.items() if name not in own}
            for inner in graph.node:
                _rename(inner, seen)
            for output in graph.output:
                output.name = seen.get(output.name, output.name)


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    made = onnx.NodeProto()
    made.CopyFrom(node)
    return made
