"""The published network: training and sampling."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from penstock.arrays import F64
from penstock.errors import BadInputError
from penstock.traffic.generator.bins import fit_bins
from penstock.traffic.generator.keyed_draws import BIN, INSIDE, TYPE
from penstock.traffic.generator.learned import LearnedGenerator, Request
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.generator.torch import chunks
from penstock.traffic.generator.torch.backbone import Cache, Transformer
from penstock.traffic.generator.torch.decode import BLOCK, Drawn, decode, sampling_type
from penstock.traffic.generator.torch.fitting import Task, fit_learned, log_scale
from penstock.traffic.generator.torch.gru_network import Likelihood
from penstock.traffic.generator.torch.training import Trained, torch_device, train
from penstock.traffic.generator.torch.transformer_network import load_state, state_of
from penstock.traffic.published.published_method import METHOD, FirstEvents, PublishedModel
from penstock.traffic.streams import Streams

WIDTH, INNER, BLOCKS, HEADS = 128, 1024, 2, 4
MOST_STEPS = 500
STOP = 3
"""The purpose of the draw that says whether a stream stops; see :mod:`penstock.traffic.generator.keyed_draws`."""

RATE, FINE_TUNING_RATE = 1e-3, 3e-4
LEAST_DEVIATION = 1e-3
HALF_LOG_TAU = 0.5 * math.log(2 * math.pi)


class PublishedTargets:
    """Streams on a device, without the row of the class: the network does not predict the first event."""

    def __init__(self, streams: Streams, scale: NDArray[np.float32], device: torch.device) -> None:
        self.rows = chunks.rows_of(streams, MOST_STEPS)
        self.device = device
        rows = self.rows

        def on_device(array: NDArray[np.generic]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        def scaled(gap_us: NDArray[np.int64]) -> Tensor:
            logs = np.log1p(gap_us.astype(np.float64))
            return on_device(((logs - scale[0]) / scale[1]).astype(np.float32))

        self.event = on_device(np.maximum(rows.event, 0))
        self.klass = on_device(rows.klass)
        self.gap = scaled(rows.gap_us)
        self.stops = on_device((rows.next_event == -1).astype(np.float32))
        self.next_event = on_device(rows.next_event)
        self.next_gap = scaled(rows.next_gap_us)
        self.log_deviation = math.log(float(scale[1]))


class PublishedNetwork(nn.Module):
    """Three heads on a transformer."""

    def __init__(self, kinds: int, classes: int) -> None:
        super().__init__()
        self.kinds, self.classes = kinds, classes
        self.backbone = Transformer(kinds + classes + 2, WIDTH, INNER, BLOCKS, HEADS, MOST_STEPS)
        self.type_head = nn.Linear(WIDTH, kinds)
        self.gap_head = nn.Linear(WIDTH, 2)
        self.stop_head = nn.Linear(WIDTH, 1)

    def inputs(self, event: Tensor, klass: Tensor, gap: Tensor, stops: Tensor) -> Tensor:
        """Tokens (..., types + classes + 2)."""
        kinds = functional.one_hot(event, self.kinds).to(gap.dtype)
        classes = functional.one_hot(klass, self.classes).to(gap.dtype)
        return torch.cat([kinds, classes, gap[..., None], stops[..., None]], -1)

    def gaussian(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the scaled log gap."""
        mean, raw = self.gap_head(states).unbind(-1)
        return mean, functional.softplus(raw) + LEAST_DEVIATION

    def likelihood(self, targets: PublishedTargets, rows: Tensor) -> Likelihood:
        """Of all events but the first, and the stop flags; the three terms have weight 1."""
        rows = rows[1:]
        tokens = self.inputs(targets.event[rows], targets.klass[rows], targets.gap[rows], targets.stops[rows])
        states = self.backbone(tokens).flatten(0, 1)
        flat = rows.flatten()
        said = (targets.next_event[flat] >= 0).nonzero(as_tuple=True)[0]
        chosen, states = flat[said], states[said]
        types = functional.cross_entropy(self.type_head(states), targets.next_event[chosen], reduction="sum")
        mean, deviation = self.gaussian(states)
        off = (targets.next_gap[chosen] - mean) / deviation
        gaps = (0.5 * off * off + deviation.log()).sum() + HALF_LOG_TAU * len(said)
        stops = functional.binary_cross_entropy_with_logits(
            self.stop_head(states)[:, 0], targets.stops[chosen + 1], reduction="sum"
        )
        events = torch.tensor(len(said), device=rows.device)
        return Likelihood(types + gaps + stops, events, events * targets.log_deviation)


class PublishedSampler:
    """A :class:`penstock.traffic.generator.torch.decode.Sampler`."""

    def __init__(self, network: PublishedNetwork, model: PublishedModel, device: torch.device) -> None:
        self._network, self._first, self._scale, self._device = network, model.first, model.scale, device
        self._type = next(network.parameters()).dtype
        self._cache: Cache = []
        self._klass = torch.zeros(0, dtype=torch.int64)
        self._state: Tensor | None = None

    def begin(self, klass: Tensor) -> None:
        """Take up streams of these classes."""
        self._klass = klass

    def draw(self, uniform: Callable[[int], F64]) -> Drawn:
        """The first event from its distribution, the others from the network."""
        if self._state is None:
            return self._draw_first(uniform)
        shares = self._network.type_head(self._state).softmax(-1).double().cpu().numpy()
        mean, deviation = (part.double().cpu().numpy() for part in self._network.gaussian(self._state))
        stop = self._network.stop_head(self._state)[:, 0].sigmoid().cpu().numpy()
        # Box and Muller, from two uniform draws.
        normal = np.sqrt(-2 * np.log1p(-uniform(BIN))) * np.cos(2 * np.pi * uniform(INSIDE))
        logs = (mean + deviation * normal) * self._scale[1] + self._scale[0]
        # Rounded: else the last microsecond would show in which order the network's sums were taken.
        logs = np.clip(logs, 0, 40).astype(np.float32).astype(np.float64)
        gap_us = np.expm1(logs).astype(np.int64)
        return Drawn(_inverse(shares, uniform(TYPE)), gap_us, uniform(STOP) < stop)

    def read(self, drawn: Drawn) -> None:
        """Go on from what was drawn."""
        logs = (np.log1p(np.clip(drawn.gap_us, 0, None)) - self._scale[0]) / self._scale[1]
        token = self._network.inputs(
            torch.from_numpy(drawn.event).to(self._device),
            self._klass,
            torch.from_numpy(logs).to(self._device, self._type),
            torch.from_numpy(drawn.stops).to(self._device, self._type),
        )
        self._state = self._network.backbone.step(token, self._cache)

    def keep(self, chosen: Tensor) -> None:
        """Drop the other streams."""
        self._network.backbone.keep(self._cache, chosen)
        self._klass = self._klass[chosen]
        if self._state is not None:
            self._state = self._state[chosen]

    def _draw_first(self, uniform: Callable[[int], F64]) -> Drawn:
        first, klass = self._first, self._klass.cpu().numpy()
        event = _inverse(first.types[klass], uniform(TYPE))
        column = _inverse(first.columns[event], uniform(BIN))
        low, high = first.bins.log_edges[event, column], first.bins.log_edges[event, column + 1]
        gap_us = np.exp(low + uniform(INSIDE) * (high - low)).astype(np.int64) - 1
        edge = first.bins.edges[event, column]
        return Drawn(event, np.maximum(gap_us, edge), uniform(STOP) < first.alone[klass])


def first_events(streams: Streams) -> FirstEvents:
    """The distribution of first events in ``streams``."""
    kinds, classes = len(streams.events), len(streams.classes)
    starts = streams.first[:-1]
    event, time_us = streams.event[starts].astype(np.int64), streams.time_us[starts]
    # A class without streams is never drawn; one row of counts keeps its shares defined.
    types = np.bincount(streams.klass * np.int64(kinds) + event, minlength=classes * kinds).reshape(
        classes, kinds
    )
    bins = fit_bins(event, time_us, kinds, streams.window_us, 64)
    columns = np.zeros((kinds, bins.columns - 1))
    np.add.at(columns, (event, np.minimum(bins.column_of(event, time_us), bins.columns - 2)), 1.0)
    columns[columns.sum(axis=1) == 0, 0] = 1.0
    alone = np.bincount(streams.klass, weights=streams.sizes == 1, minlength=classes)
    counts = np.bincount(streams.klass, minlength=classes)
    shares = np.where(counts[:, None] > 0, types, types.sum(axis=0))
    return FirstEvents(
        shares / shares.sum(axis=1, keepdims=True),
        bins,
        columns / columns.sum(axis=1, keepdims=True),
        alone / np.maximum(counts, 1),
    )


def network_of(model: PublishedModel, device: torch.device) -> PublishedNetwork:
    """The network of ``model``. Raises :class:`BadInputError` if its arrays do not fit."""
    classes, kinds = model.first.types.shape
    network = PublishedNetwork(kinds, classes)
    load_state(network, model.state)
    return network.to(device)


def fit_published(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """See :func:`penstock.traffic.published.published_method.fit`."""
    return fit_learned(streams, method=METHOD, seed=seed, options=options, fit_part=_fit_part)


def draw_published(model: PublishedModel, request: Request, precision: torch.dtype | None = None) -> Rows:
    """The streams of ``request``, in the precision of :func:`sampling_type` unless ``precision`` is another."""
    device = torch_device(request.device)
    network = network_of(model, device).to(precision or sampling_type(device)).eval()
    return decode(
        lambda: PublishedSampler(network, model, device), request, MOST_STEPS, device, request.batch or BLOCK
    )


def _inverse(shares: NDArray[np.float64], u: F64) -> NDArray[np.int64]:
    """The column at ``u`` of each row's cumulative distribution."""
    ends = shares.cumsum(axis=1)
    found = (ends <= (u * ends[:, -1])[:, None]).sum(axis=1)
    return np.minimum(found, shares.shape[1] - 1)


def _fit_part(task: Task) -> tuple[PublishedModel, Trained]:
    own, recipe, start = task.streams, task.recipe, task.start
    if task.options.machine is not None:
        raise BadInputError(
            "--machine: the published method takes no machine. Leave it out, or use --method gru."
        )
    if own.sizes.max() < 2:
        raise BadInputError("the published method needs streams of two events or more; this trace has none.")
    torch.manual_seed(recipe.seed)
    device = torch_device(recipe.device)
    if isinstance(start, PublishedModel):
        scale, network = start.scale, network_of(start, device)
    else:
        scale, network = log_scale(own), PublishedNetwork(len(own.events), len(own.classes))
    if "rate" not in task.options.extra:
        recipe = replace(recipe, rate=FINE_TUNING_RATE if start is not None else RATE)
    trained = train(
        network,
        PublishedTargets(own, scale, device),
        PublishedTargets(task.held_out, scale, device),
        recipe,
        progress=task.options.progress,
    )
    return PublishedModel(state_of(network), first_events(own), scale), trained
