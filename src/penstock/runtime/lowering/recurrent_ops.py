"""LSTM and GRU, on torch's own kernels: weights are reordered from ONNX's gate order once."""

from __future__ import annotations

import torch
from torch import Tensor

from penstock.runtime.lowering.node import Function, Node
from penstock.runtime.lowering.registry import lowers


def _reordered(weight: Tensor, order: list[int]) -> Tensor:
    gates = weight.chunk(len(order), 0)
    return torch.cat([gates[index] for index in order], 0)


def _weights(node: Node, order: list[int], directions: int) -> list[Tensor]:
    """torch's flat list: for each direction the input, hidden weights and both biases."""
    flat: list[Tensor] = []
    rows = len(order) * node.attribute("hidden_size")
    for direction in range(directions):
        flat.append(_reordered(node.known(1)[direction], order))
        flat.append(_reordered(node.known(2)[direction], order))
        bias = node.known(3)[direction] if node.has(3) else torch.zeros(2 * rows)
        flat += [_reordered(bias[:rows], order), _reordered(bias[rows:], order)]
    return [one.to(node.device, node.dtype()).contiguous() for one in flat]


def _check(node: Node, default_activations: list[str]) -> tuple[int, bool]:
    direction = node.attribute("direction", "forward")
    if direction not in ("forward", "bidirectional"):
        raise node.refusal(f"direction {direction!r}")
    directions = 2 if direction == "bidirectional" else 1
    activations = [
        str(name).lower() for name in node.attribute("activations", default_activations * directions)
    ]
    if activations != default_activations * directions or node.attribute("clip") is not None:
        raise node.refusal("activations other than the default, or clip")
    if node.attribute("layout", 0) or node.attribute("input_forget", 0):
        raise node.refusal("layout 1 or input_forget")
    if node.has(4) and not (node.is_known(4) and set(node.ints(4)) == {node.shape()[0]}):
        raise node.refusal("sequence lengths that differ, or that depend on data")
    return directions, directions == 2


def _initial(node: Node, index: int, directions: int) -> Tensor | None:
    if node.has(index):
        return None
    shape = (directions, node.shape()[1], node.attribute("hidden_size"))
    return torch.zeros(shape, dtype=node.dtype(), device=node.device)


def _sequence(made: Tensor, directions: int) -> Tensor:
    """torch's [T, N, D * H] as ONNX's [T, D, N, H]."""
    return made.unflatten(2, (directions, -1)).transpose(1, 2)


@lowers("LSTM")
def _lstm(node: Node) -> Function:
    directions, both = _check(node, ["sigmoid", "tanh", "tanh"])
    if node.has(7):
        raise node.refusal("peephole weights")
    weights = _weights(node, [0, 2, 3, 1], directions)  # ONNX: i o f c; torch: i f g o
    zero_hidden, zero_cell = _initial(node, 5, directions), _initial(node, 6, directions)

    def run(x: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        given = [*rest, *[None] * 7]
        hidden = given[4] if zero_hidden is None else zero_hidden
        cell = given[5] if zero_cell is None else zero_cell
        made = torch._VF.lstm(x, (hidden, cell), weights, True, 1, 0.0, False, both, False)
        return (_sequence(made[0], directions), made[1], made[2])[: node.n_outputs]

    return run


@lowers("GRU")
def _gru(node: Node) -> Function:
    directions, both = _check(node, ["sigmoid", "tanh"])
    if not node.attribute("linear_before_reset", 0):
        raise node.refusal("linear_before_reset 0: torch's GRU multiplies by the reset gate last")
    weights = _weights(node, [1, 0, 2], directions)  # ONNX: z r h; torch: r z n
    zero_hidden = _initial(node, 5, directions)

    def run(x: Tensor, *rest: Tensor | None) -> tuple[Tensor, ...]:
        given = [*rest, *[None] * 6]
        hidden = given[4] if zero_hidden is None else zero_hidden
        made = torch._VF.gru(x, hidden, weights, True, 1, 0.0, False, both, False)
        return (_sequence(made[0], directions), made[1])[: node.n_outputs]

    return run
