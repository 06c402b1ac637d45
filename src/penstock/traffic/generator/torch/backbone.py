"""Networks that read a stream event by event: what they know after each, all at once or step by step.

A *backbone* gives states (steps, streams, hidden) for inputs (steps, streams, width), and, for sampling, the next state
from one more input and a cache. ``keep`` drops streams that have ended from a cache.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from penstock.traffic.generator.torch.fused_gru import fused_gru

Cache = list[Tensor]


class Backbone(Protocol):
    """What :mod:`penstock.traffic.generator.torch.decode` needs."""

    def step(self, inputs: Tensor, cache: Cache) -> Tensor:
        """The states (streams, hidden) after ``inputs`` (streams, width); ``cache`` is brought up to date in place."""
        ...

    def keep(self, cache: Cache, chosen: Tensor) -> None:
        """Leave only the streams ``chosen`` in ``cache``."""
        ...


class Block(nn.Module):
    """Attention and a feed-forward part, each with its norm before it (Xiong et al., ICML 2020)."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads = heads
        self.before = nn.LayerNorm(width)
        self.attend = nn.Linear(width, 3 * width)
        self.join = nn.Linear(width, width)
        self.between = nn.LayerNorm(width)
        self.inner = nn.Linear(width, inner)
        self.outer = nn.Linear(inner, width)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys, values: (streams, heads, steps, width / heads)."""
        streams, steps, width = x.shape
        parts = self.attend(self.before(x)).view(streams, steps, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        return query, key, value

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """The rest of the block."""
        x = x + self.join(attended.transpose(1, 2).flatten(2))
        return x + self.outer(functional.gelu(self.inner(self.between(x))))

    def forward(self, x: Tensor) -> Tensor:
        """All steps, each seeing those before it: (streams, steps, width)."""
        query, key, value = self.split(x)
        return self.finish(x, functional.scaled_dot_product_attention(query, key, value, is_causal=True))


class Transformer(nn.Module):
    """A decoder-only transformer with learned places; at most ``steps`` inputs."""

    def __init__(self, inputs: int, width: int, inner: int, blocks: int, heads: int, steps: int) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.place = nn.Parameter(torch.randn(steps, width) * 0.02)
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(blocks))
        self.leave = nn.LayerNorm(width)

    @property
    def steps(self) -> int:
        """The most inputs."""
        return len(self.place)

    def forward(self, inputs: Tensor) -> Tensor:
        """States (steps, streams, width) after ``inputs`` (steps, streams, inputs)."""
        x = (self.enter(inputs) + self.place[: len(inputs), None]).transpose(0, 1)
        for block in self.blocks:
            x = block(x)
        states: Tensor = self.leave(x).transpose(0, 1)
        return states

    def step(self, inputs: Tensor, cache: Cache) -> Tensor:
        """As :meth:`Backbone.step`; the cache holds keys and values by block, and how many steps there were."""
        if not cache:
            shape = (len(inputs), self.blocks[0].heads, 64, self.place.shape[1] // self.blocks[0].heads)
            cache.extend(inputs.new_zeros(shape) for _ in range(2 * len(self.blocks)))
            cache.append(torch.zeros(1, dtype=torch.int64))
        at = int(cache[-1])
        if at == cache[0].shape[2]:
            for number in range(2 * len(self.blocks)):
                cache[number] = torch.cat([cache[number], torch.zeros_like(cache[number])], 2)
        x = (self.enter(inputs) + self.place[at])[:, None]
        for number, block in enumerate(self.blocks):
            query, key, value = block.split(x)
            cache[2 * number][:, :, at] = key[:, :, 0]
            cache[2 * number + 1][:, :, at] = value[:, :, 0]
            past = (cache[2 * number][:, :, : at + 1], cache[2 * number + 1][:, :, : at + 1])
            x = block.finish(x, functional.scaled_dot_product_attention(query, *past))
        cache[-1] += 1
        return self.leave(x)[:, 0]

    def keep(self, cache: Cache, chosen: Tensor) -> None:
        """As :meth:`Backbone.keep`."""
        for number in range(len(cache) - 1):
            cache[number] = cache[number][chosen]


class Gru(nn.Module):
    """A GRU as a backbone."""

    def __init__(self, inputs: int, hidden: int) -> None:
        super().__init__()
        self.gru = nn.GRU(inputs, hidden)

    def forward(self, inputs: Tensor) -> Tensor:
        """States (steps, streams, hidden) after ``inputs`` (steps, streams, inputs)."""
        states: Tensor = self.gru(inputs)[0] if inputs.is_cuda else fused_gru(self.gru, inputs)
        return states

    def step(self, inputs: Tensor, cache: Cache) -> Tensor:
        """As :meth:`Backbone.step`; the cache is the state."""
        states, last = self.gru(inputs[None], cache[0] if cache else None)
        cache[:] = [last]
        return states[0]

    def keep(self, cache: Cache, chosen: Tensor) -> None:
        """As :meth:`Backbone.keep`."""
        cache[0] = cache[0][:, chosen].contiguous()
