"""The GRU's steps forward and back on a CPU: PyTorch's products, and the gates in one compiled pass.

PyTorch's own backward pass makes a dozen small operations a step and adds up the weights' gradients step by step. Here
the gradients at the gates are kept, and one product at the end gives those of the weights. On a GPU the library's own
GRU is used.
"""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from penstock.kernels import compiled
from penstock.traffic.generator.lane_arithmetic import exp32

F32 = NDArray[np.float32]

_ONE, _TWO, _LIMIT = np.float32(1.0), np.float32(2.0), np.float32(87.0)


@compiled(error_model="numpy", fastmath={"contract"})
def _gates(inputs: F32, recurrent: F32, before: F32, reset: F32, update: F32, new: F32, after: F32) -> None:
    """One step of B streams: ``inputs`` and ``recurrent`` (B, 3H) to the gates and the state ``after``, (B, H)."""
    streams, hidden = before.shape
    for b in range(streams):
        for u in range(hidden):
            x = -(inputs[b, u] + recurrent[b, u])
            reset[b, u] = _ONE / (_ONE + exp32(min(x, _LIMIT)))
        for u in range(hidden):
            x = -(inputs[b, hidden + u] + recurrent[b, hidden + u])
            update[b, u] = _ONE / (_ONE + exp32(min(x, _LIMIT)))
        for u in range(hidden):
            x = inputs[b, 2 * hidden + u] + reset[b, u] * recurrent[b, 2 * hidden + u]
            new[b, u] = _TWO / (_ONE + exp32(min(-_TWO * x, _LIMIT))) - _ONE
            after[b, u] = new[b, u] + update[b, u] * (before[b, u] - new[b, u])


@compiled(error_model="numpy", fastmath={"contract"})
def _gates_back(
    slope: F32,
    later: F32,
    before: F32,
    reset: F32,
    update: F32,
    new: F32,
    raw: F32,
    inputs: F32,
    recurrent: F32,
) -> None:
    """The step backwards, from ``slope`` (of the loss by the state) and ``later`` (the same through later steps).

    Writes the slopes by ``inputs`` and ``recurrent``, and into ``later`` that by the state before, as far as it does
    not go through ``recurrent``. ``raw`` is what ``recurrent`` was.
    """
    streams, hidden = before.shape
    for b in range(streams):
        for u in range(hidden):
            whole = slope[b, u] + later[b, u]
            r, z, n = reset[b, u], update[b, u], new[b, u]
            by_new = whole * (_ONE - z) * (_ONE - n * n)
            by_update = whole * (before[b, u] - n) * z * (_ONE - z)
            by_reset = by_new * raw[b, 2 * hidden + u] * r * (_ONE - r)
            inputs[b, u] = by_reset
            recurrent[b, u] = by_reset
            inputs[b, hidden + u] = by_update
            recurrent[b, hidden + u] = by_update
            inputs[b, 2 * hidden + u] = by_new
            recurrent[b, 2 * hidden + u] = by_new * r
            later[b, u] = whole * z


class FusedGru(torch.autograd.Function):
    """``inputs`` (steps, streams, 3H), with the input weights and bias applied, to states (steps, streams, H)."""

    @staticmethod
    def forward(context: Any, inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """All steps from a state of zeros; ``weight`` (3H, H), ``bias`` (3H,)."""
        steps, streams, triple = inputs.shape
        hidden = triple // 3
        inputs = inputs.contiguous()
        states = torch.zeros(steps + 1, streams, hidden)
        recurrent = torch.empty(steps, streams, triple)
        reset, update, new = (torch.empty(steps, streams, hidden) for _ in range(3))
        turned = weight.detach().t()
        arrays = [tensor.detach().numpy() for tensor in (inputs, recurrent, states, reset, update, new)]
        x, h, s, r, z, n = arrays
        for step in range(steps):
            torch.addmm(bias, states[step], turned, out=recurrent[step])
            _gates(x[step], h[step], s[step], r[step], z[step], n[step], s[step + 1])
        context.save_for_backward(weight, recurrent, states, reset, update, new)
        return states[1:]

    @staticmethod
    def backward(context: Any, slope: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The slopes by all three."""
        weight, recurrent, states, reset, update, new = context.saved_tensors
        steps, streams, triple = recurrent.shape
        by_inputs, by_recurrent = torch.empty_like(recurrent), torch.empty_like(recurrent)
        later = torch.zeros(streams, triple // 3)
        detached = (slope.contiguous(), states, reset, update, new, recurrent, by_inputs, by_recurrent)
        d, s, r, z, n, raw, x, h = [tensor.detach().numpy() for tensor in detached]
        through = later.numpy()
        for step in range(steps - 1, -1, -1):
            _gates_back(d[step], through, s[step], r[step], z[step], n[step], raw[step], x[step], h[step])
            torch.addmm(later, by_recurrent[step], weight.detach(), out=later)
        flat = by_recurrent.flatten(0, 1)
        return by_inputs, flat.t() @ states[:-1].flatten(0, 1), flat.sum(0)


def fused_gru(gru: torch.nn.GRU, inputs: Tensor) -> Tensor:
    """The states of ``gru`` (one layer, steps first) for ``inputs`` (steps, streams, width), on a CPU in float32."""
    entered = torch.nn.functional.linear(inputs, gru.weight_ih_l0, gru.bias_ih_l0)
    states: Tensor = FusedGru.apply(entered, gru.weight_hh_l0, gru.bias_hh_l0)
    return states
