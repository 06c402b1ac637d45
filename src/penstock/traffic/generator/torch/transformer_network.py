"""The transformer with bins: training and sampling."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from penstock.errors import BadInputError
from penstock.traffic.generator.bins import BINS, GapBins, fit_stream_bins
from penstock.traffic.generator.bundle import Arrays
from penstock.traffic.generator.gru_weights import features_of
from penstock.traffic.generator.learned import LearnedGenerator, Request
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.generator.torch.backbone import Transformer
from penstock.traffic.generator.torch.bin_sampler import BinSampler
from penstock.traffic.generator.torch.chunks import rows_of
from penstock.traffic.generator.torch.decode import BLOCK, decode, sampling_type
from penstock.traffic.generator.torch.fitting import Task, fit_learned, log_scale
from penstock.traffic.generator.torch.gru_fit import (
    FINE_TUNING_RATE,
    begin_at_marginals,
    grammar_of,
)
from penstock.traffic.generator.torch.gru_network import BinHeads, BinTargets, Likelihood, bin_likelihood
from penstock.traffic.generator.torch.training import Trained, torch_device, train
from penstock.traffic.generator.torch.transformer import METHOD, TransformerModel
from penstock.traffic.streams import Streams

WIDTH, BLOCKS, HEADS = 64, 2, 4
MOST_STEPS = 500
RATE = 1e-3
"""Attention does not bear the rate of the GRU."""


class TransformerNetwork(nn.Module):
    """Type or class as one-hot and the features of the gap, a transformer, and the heads of bins."""

    def __init__(self, classes: int, width: int, blocks: int, bins: GapBins) -> None:
        super().__init__()
        self.names = classes + bins.types
        self.backbone = Transformer(
            self.names + features_of(bins.types), width, 4 * width, blocks, HEADS, MOST_STEPS + 1
        )
        self.heads = BinHeads(width, bins)

    def likelihood(self, targets: BinTargets, rows: Tensor) -> Likelihood:
        """Of the streams whose rows are in the grid ``rows`` (steps, streams)."""
        kinds = functional.one_hot(targets.reads[rows], self.names).float()
        states = self.backbone(torch.cat([kinds, targets.features[rows]], -1))
        return bin_likelihood(self.heads, states, targets, rows)


def network_of(classes: int, bins: GapBins, state: Arrays, device: torch.device) -> TransformerNetwork:
    """The network whose arrays are ``state``. Raises :class:`BadInputError` if they do not fit."""
    width = state["backbone.place"].shape[-1] if "backbone.place" in state else 0
    blocks = len({name.split(".")[2] for name in state if name.startswith("backbone.blocks.")})
    if not width or width % HEADS or not blocks:
        raise BadInputError("weights: these are not of a transformer.")
    network = TransformerNetwork(classes, width, blocks, bins)
    load_state(network, state)
    return network.to(device)


def load_state(network: nn.Module, state: Arrays) -> None:
    """Put ``state`` into ``network``. Raises :class:`BadInputError` if names or shapes differ."""
    tensors = {name: torch.from_numpy(np.array(array, np.float32)) for name, array in state.items()}
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise BadInputError(f"weights: {' '.join(str(error).split())[:300]}") from None


def state_of(network: nn.Module) -> dict[str, NDArray[np.float32]]:
    """The arrays of ``network`` by name."""
    return {
        name: tensor.detach().cpu().numpy().astype(np.float32)
        for name, tensor in network.state_dict().items()
    }


def fit_transformer(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """See :func:`penstock.traffic.generator.torch.transformer.fit`."""
    return fit_learned(streams, method=METHOD, seed=seed, options=options, fit_part=_fit_part)


def draw_transformer(model: TransformerModel, request: Request) -> Rows:
    """The streams of ``request``."""
    device = torch_device(request.device)
    network = network_of(model.classes, model.bins, model.state, device).to(sampling_type(device)).eval()

    def make() -> BinSampler:
        return BinSampler(
            network.backbone, network.heads, model.bins, model.grammar, model.scale, model.classes, device
        )

    return decode(make, request, MOST_STEPS, device, request.batch or BLOCK)


def _fit_part(task: Task) -> tuple[TransformerModel, Trained]:
    extra, own, recipe = task.options.extra, task.streams, task.recipe
    grammar = grammar_of(task)  # first: an event that the machine does not know should not cost a training
    torch.manual_seed(recipe.seed)
    classes, device, start = len(own.classes), torch_device(recipe.device), task.start
    if isinstance(start, TransformerModel):
        bins, scale = start.bins, start.scale
        network = network_of(classes, bins, start.state, device)
    else:
        bins = fit_stream_bins(own, int(extra.get("bins", BINS)))
        scale = log_scale(own)
        network = TransformerNetwork(
            classes, int(extra.get("width", WIDTH)), int(extra.get("blocks", BLOCKS)), bins
        )
        begin_at_marginals(network.heads, bins, own)
    if "rate" not in extra:
        recipe = replace(recipe, rate=FINE_TUNING_RATE / 2 if start is not None else RATE)
    targets = BinTargets(rows_of(own, MOST_STEPS), bins, scale, classes, device)
    held_out = BinTargets(rows_of(task.held_out, MOST_STEPS), bins, scale, classes, device)
    trained = train(network, targets, held_out, recipe, progress=task.options.progress)
    model = TransformerModel(state_of(network), bins, grammar, scale, classes)
    return model, trained
