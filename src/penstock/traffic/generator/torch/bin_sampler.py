"""Draws from a network with the heads of :class:`penstock.traffic.generator.torch.gru_network.BinHeads`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from penstock.arrays import F64
from penstock.traffic.generator.bins import GapBins
from penstock.traffic.generator.grammar import Grammar
from penstock.traffic.generator.gru_weights import event_features, features_of
from penstock.traffic.generator.keyed_draws import BIN, INSIDE, TYPE
from penstock.traffic.generator.torch.backbone import Backbone, Cache
from penstock.traffic.generator.torch.decode import Drawn, sampling_type
from penstock.traffic.generator.torch.gru_network import BinHeads


class BinSampler:
    """A :class:`penstock.traffic.generator.torch.decode.Sampler`: type by the automaton, then bin, then place in it."""

    def __init__(
        self,
        backbone: Backbone,
        heads: BinHeads,
        bins: GapBins,
        grammar: Grammar,
        scale: NDArray[np.float32],
        classes: int,
        device: torch.device,
    ) -> None:
        self._backbone, self._heads, self._bins, self._scale = backbone, heads, bins, scale
        self._next_state = torch.from_numpy(grammar.next_state.astype(np.int64)).to(device)
        self._classes, self._device, self._type = classes, device, sampling_type(device)
        self._cache: Cache = []
        self._before = torch.zeros(0, dtype=torch.int64)
        self._clock = np.zeros(0, np.int64)
        self._last = np.zeros((0, 0), np.int64)
        self._state = torch.zeros(0)
        self._place = torch.zeros(0, dtype=torch.int64)

    def begin(self, klass: Tensor) -> None:
        """Take up streams of these classes."""
        kinds = self._heads.kinds
        self._clock, self._last = np.zeros(len(klass), np.int64), np.zeros((len(klass), kinds), np.int64)
        features = torch.zeros(len(klass), features_of(kinds), device=self._device, dtype=self._type)
        self._place = torch.zeros(len(klass), dtype=torch.int64, device=self._device)
        self._before = torch.zeros(len(klass), dtype=torch.int64, device=self._device)
        self._advance(klass, features)

    def draw(self, uniform: Callable[[int], F64]) -> Drawn:
        """What comes next in each stream."""
        allowed = self._next_state[self._place] >= 0
        scores = self._heads.type_logits(self._state, self._before).masked_fill(~allowed, -torch.inf)
        event = _inverse(scores.softmax(-1).nan_to_num(0.0), self._tensor(uniform(TYPE)))
        slot = self._heads.slot_of[self._before, event]
        chosen_slot = functional.one_hot(slot, len(self._heads.gap_bias)).to(self._type)
        column = _inverse(
            self._heads.gap_logits(self._state, chosen_slot).softmax(-1), self._tensor(uniform(BIN))
        )
        self._place = self._next_state[self._place, event].clamp_min(0)
        chosen, at = event.cpu().numpy(), column.cpu().numpy()
        gap_us = _gaps(self._bins, slot.cpu().numpy(), at, uniform(INSIDE))
        gap_us[~allowed.any(-1).cpu().numpy()] = -1
        return Drawn(chosen, gap_us, np.zeros(len(chosen), bool))

    def read(self, drawn: Drawn) -> None:
        """Go on from what was drawn."""
        gap_us = np.maximum(drawn.gap_us, 0)
        self._clock = self._clock + gap_us
        self._last[np.arange(len(gap_us)), drawn.event] = self._clock
        event = torch.from_numpy(drawn.event).to(self._device)
        self._before = 1 + event
        made = event_features(gap_us, self._clock[:, None] - self._last, self._scale)
        features = torch.from_numpy(made).to(self._device, self._type)
        self._advance(self._classes + event, features)

    def keep(self, chosen: Tensor) -> None:
        """Drop the other streams."""
        self._backbone.keep(self._cache, chosen)
        self._state, self._place, self._before = (
            self._state[chosen],
            self._place[chosen],
            self._before[chosen],
        )
        kept = chosen.cpu().numpy()
        self._clock, self._last = self._clock[kept], self._last[kept]

    def _advance(self, reads: Tensor, features: Tensor) -> None:
        kinds = functional.one_hot(reads, self._classes + self._heads.kinds).to(self._type)
        self._state = self._backbone.step(torch.cat([kinds, features], -1), self._cache)

    def _tensor(self, drawn: F64) -> Tensor:
        return torch.from_numpy(drawn).to(self._device, self._type)


def _inverse(shares: Tensor, u: Tensor) -> Tensor:
    """The column at ``u`` of each row's cumulative distribution, one that has a share; (A, columns), (A,)."""
    ends = shares.cumsum(-1)
    found = torch.searchsorted(ends, (u * ends[:, -1])[:, None], right=True)[:, 0]
    last = (shares > 0).long() * torch.arange(shares.shape[-1], device=shares.device)
    return torch.minimum(found, last.amax(-1))


def _gaps(bins: GapBins, slot: NDArray[np.int64], column: NDArray[np.int64], u: F64) -> NDArray[np.int64]:
    """Log-uniform inside the bin; -1 in the overflow."""
    past = column >= bins.columns - 1
    at = np.minimum(column, bins.columns - 2)
    low, high = bins.edges[slot, at], bins.edges[slot, at + 1]
    logs = bins.log_edges[slot, at] * (1 - u) + bins.log_edges[slot, at + 1] * u
    gap_us = np.clip(np.exp(logs).astype(np.int64) - 1, low, np.maximum(high - 1, low))
    return np.where(past, -1, gap_us)
