"""The default network in PyTorch: the likelihood that training raises, and the arrays that the sampler reads.

The likelihood of a stream is that of a marked point process in the window: for each event the type, then the bin of the
gap given the type; at the end the probability that nothing comes in the time that is left, summed over types and bins
(a censored observation; Cox, "Renewal Theory", 1962). So no flag says "stop".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from penstock.traffic.generator.bins import GapBins
from penstock.traffic.generator.gru_weights import GruWeights, event_features, features_of
from penstock.traffic.generator.torch.backbone import Gru
from penstock.traffic.generator.torch.chunks import Rows, since_of

NEVER = -1e9
"""The logit of a column that is padding."""


@dataclass(frozen=True)
class Likelihood:
    """Sums over a chunk: ``loss`` with gradient, on the scale of the bins; ``events``; ``constant`` to add for
    log gaps.
    """

    loss: Tensor
    events: Tensor
    constant: Tensor


class BinTargets:
    """The rows of a set of streams as tensors on ``device``, for networks with :class:`BinHeads`."""

    def __init__(
        self, rows: Rows, bins: GapBins, scale: NDArray[np.float32], classes: int, device: torch.device
    ) -> None:
        def on_device(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.rows = rows
        self.device = device
        self.reads = on_device(np.where(rows.event >= 0, classes + rows.event, rows.klass))
        features = event_features(rows.gap_us, since_of(rows, bins.types), scale)
        features[rows.event < 0] = 0.0
        self.features = on_device(features)
        self.next_event = on_device(rows.next_event)
        said = rows.next_event >= 0
        before = rows.event + 1
        self.before = on_device(before)
        slot = bins.slot_of[before, np.maximum(rows.next_event, 0)]
        self.next_slot = on_device(slot)
        column = np.zeros(len(rows.event), np.int64)
        column[said] = bins.column_of(slot[said], rows.next_gap_us[said])
        self.next_column = on_device(column)
        inside = np.zeros(len(rows.event), np.float32)
        inside[said] = -bins.log_inside(slot[said], rows.next_gap_us[said])
        self.inside = on_device(inside)
        self.log_left = on_device(np.log1p(rows.left_us.astype(np.float64)).astype(np.float32))


class BinHeads(nn.Module):
    """Type, and bin of the gap given the type, from a state of ``hidden`` units."""

    def __init__(self, hidden: int, bins: GapBins) -> None:
        super().__init__()
        slots, columns = bins.slots, bins.columns
        self.kinds = bins.types
        self.type_head = nn.Linear(hidden, self.kinds, bias=False)
        self.type_bias = nn.Parameter(torch.zeros(self.kinds + 1, self.kinds))
        self.middle = nn.Linear(hidden, hidden, bias=False)
        self.middle_bias = nn.Parameter(torch.randn(slots, hidden) * 0.1)
        self.gap_head = nn.Linear(hidden, columns, bias=False)
        self.gap_bias = nn.Parameter(torch.zeros(slots, columns))
        self.register_buffer("never", torch.from_numpy(np.where(bins.usable, 0.0, NEVER).astype(np.float32)))
        edges = torch.from_numpy(bins.log_edges.astype(np.float32))
        self.register_buffer("low", edges[:, :-1].contiguous())
        self.register_buffer("slot_of", torch.from_numpy(bins.slot_of))
        self.register_buffer("width", (edges[:, 1:] - edges[:, :-1]).clamp_min(1e-9))

    def gap_logits(self, state: Tensor, slot: Tensor) -> Tensor:
        """Logits of the columns (..., columns) given the slot as one-hot ``slot`` (..., slots)."""
        middle = functional.relu(self.middle(state) + slot @ self.middle_bias)
        return self.gap_head(middle) + slot @ (self.gap_bias + self.never)

    def type_logits(self, state: Tensor, before: Tensor) -> Tensor:
        """Logits of the next type (M, types) from states (M, hidden); ``before`` (M,): 0, or 1 + the type before."""
        logits: Tensor = self.type_head(state)
        return logits + functional.one_hot(before, self.kinds + 1).to(state.dtype) @ self.type_bias

    def event_loss(
        self, state: Tensor, before: Tensor, event: Tensor, slot: Tensor, column: Tensor
    ) -> Tensor:
        """Minus the sum of log P(type) + log P(bin | slot) for rows (M, hidden)."""
        types = functional.cross_entropy(self.type_logits(state, before), event, reduction="sum")
        chosen = functional.one_hot(slot, len(self.gap_bias)).to(state.dtype)
        return types + functional.cross_entropy(self.gap_logits(state, chosen), column, reduction="sum")

    def silence_loss(self, state: Tensor, before: Tensor, log_left: Tensor) -> Tensor:
        """Minus the sum of log P(no event in the time left) for rows (S, hidden) after ``before`` (S,)."""
        slots = self.slot_of[before]
        chosen = functional.one_hot(slots, len(self.gap_bias)).to(state.dtype)
        columns = self.gap_logits(state[:, None, :], chosen).log_softmax(-1)
        low, width = self.low[slots], self.width[slots]
        share = (low + width - log_left[:, None, None]) / width
        past = functional.pad(share.clamp(0.0, 1.0), (0, 1), value=1.0)
        survives = (columns.exp() * past).sum(-1)
        types = self.type_logits(state, before).softmax(-1)
        return -(types * survives).sum(-1).clamp_min(1e-12).log().sum()


class GruNetwork(nn.Module):
    """One GRU over (type or class as one-hot, features of the gap), and the heads."""

    def __init__(self, classes: int, hidden: int, bins: GapBins) -> None:
        super().__init__()
        self.classes = classes
        self.names = classes + bins.types
        self.backbone = Gru(self.names + features_of(bins.types), hidden)
        self.heads = BinHeads(hidden, bins)

    @property
    def gru(self) -> nn.GRU:
        """Its recurrent weights."""
        return self.backbone.gru

    def states(self, reads: Tensor, features: Tensor) -> Tensor:
        """The state after each input: (steps, streams, hidden)."""
        inputs = torch.cat([functional.one_hot(reads, self.names).to(features.dtype), features], -1)
        states: Tensor = self.backbone(inputs)
        return states

    def likelihood(self, targets: BinTargets, rows: Tensor) -> Likelihood:
        """Of the streams whose rows are in the grid ``rows`` (steps, streams)."""
        states = self.states(targets.reads[rows], targets.features[rows])
        return bin_likelihood(self.heads, states, targets, rows)

    def export(self, scale: NDArray[np.float32]) -> GruWeights:
        """The arrays of the sampler."""

        def array(tensor: Tensor) -> NDArray[np.float32]:
            return np.ascontiguousarray(tensor.detach().cpu().numpy().astype(np.float32))

        gates = self.gru.weight_ih_l0
        return GruWeights(
            array(gates[:, : self.names].T + self.gru.bias_ih_l0),
            array(gates[:, self.names :]),
            array(self.gru.weight_hh_l0),
            array(self.gru.bias_hh_l0),
            array(self.heads.type_head.weight),
            array(self.heads.type_bias),
            array(self.heads.middle.weight),
            array(self.heads.middle_bias),
            array(self.heads.gap_head.weight),
            array(self.heads.gap_bias + self.heads.never),
            np.asarray(scale, np.float32),
        )

    @torch.no_grad()
    def take(self, weights: GruWeights) -> None:
        """Become the network of ``weights``, to train it further."""

        def put(parameter: Tensor, array: NDArray[np.float32]) -> None:
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(array)))

        put(self.gru.weight_ih_l0, np.concatenate([weights.token.T, weights.feature], axis=1))
        put(self.gru.bias_ih_l0, np.zeros(len(weights.recur_bias), np.float32))
        put(self.gru.weight_hh_l0, weights.recur)
        put(self.gru.bias_hh_l0, weights.recur_bias)
        put(self.heads.type_head.weight, weights.type_head)
        put(self.heads.type_bias, weights.type_bias)
        put(self.heads.middle.weight, weights.middle)
        put(self.heads.middle_bias, weights.middle_bias)
        put(self.heads.gap_head.weight, weights.gap_head)
        put(
            self.heads.gap_bias,
            np.where(weights.gap_bias < NEVER / 2, 0.0, weights.gap_bias).astype(np.float32),
        )


def bin_likelihood(heads: BinHeads, states: Tensor, targets: BinTargets, rows: Tensor) -> Likelihood:
    """Events and ends of the grid ``rows``, from the states after each row (steps, streams, hidden)."""
    flat, states = rows.flatten(), states.flatten(0, 1)
    event = targets.next_event[flat]
    said = (event >= 0).nonzero(as_tuple=True)[0]
    ended = (event == -1).nonzero(as_tuple=True)[0]
    chosen = flat[said]
    loss = heads.event_loss(
        states[said],
        targets.before[chosen],
        event[said],
        targets.next_slot[chosen],
        targets.next_column[chosen],
    )
    last = flat[ended]
    loss = loss + heads.silence_loss(states[ended], targets.before[last], targets.log_left[last])
    return Likelihood(loss, torch.tensor(len(said), device=loss.device), targets.inside[chosen].sum())
