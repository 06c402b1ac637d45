"""Fitting the default network."""

# mypy: disable-error-code="no-any-return"

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from penstock.errors import BadInputError
from penstock.traffic.generator.bins import BINS, GapBins, befores_of, fit_stream_bins, slots_of
from penstock.traffic.generator.grammar import Grammar, free_grammar, learn_grammar, machine_grammar
from penstock.traffic.generator.gru import METHOD, GruModel
from penstock.traffic.generator.learned import LearnedGenerator, Request
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.generator.torch.bin_sampler import BinSampler
from penstock.traffic.generator.torch.chunks import rows_of
from penstock.traffic.generator.torch.decode import decode, sampling_type
from penstock.traffic.generator.torch.fitting import Task, fit_learned, log_scale
from penstock.traffic.generator.torch.gru_network import BinHeads, BinTargets, GruNetwork
from penstock.traffic.generator.torch.training import Trained, torch_device, train
from penstock.traffic.streams import Streams

HIDDEN = 96
FINE_TUNING_RATE = 1e-3
UNSEEN = 0.5
"""Times that what was never seen counts as seen, at the begin of training."""
DEVICE_BLOCK = 16_384
"""Streams at a time on a GPU."""


def fit_gru(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """The default generator.

    Extra options: ``hidden`` (a multiple of 8), ``bins``, ``steps`` (instead of a time), ``device`` (cpu or cuda),
    ``rate``, ``tokens`` (a step), ``per_class``, ``free`` (no automaton), ``until_nats`` (stop there).
    """
    return fit_learned(streams, method=METHOD, seed=seed, options=options, fit_part=_fit_part)


def draw_on_device(model: GruModel, request: Request) -> Rows:
    """The streams of ``request`` with PyTorch, in large blocks."""
    device = torch_device(request.device)
    classes = len(model.weights.token) - model.bins.types
    network = GruNetwork(classes, model.weights.hidden, model.bins)
    network.take(model.weights)
    network.to(device, sampling_type(device)).eval()

    def make() -> BinSampler:
        heads, scale = network.heads, model.weights.scale
        return BinSampler(network.backbone, heads, model.bins, model.grammar, scale, classes, device)

    return decode(make, request, request.most_events, device, request.batch or DEVICE_BLOCK)


@torch.no_grad()
def begin_at_marginals(heads: BinHeads, bins: GapBins, streams: Streams) -> None:
    """Set the biases to the shares in ``streams``: of the next type after each type, and of the bins of each slot.

    What the trace does not have is then improbable before training begins.
    """
    kinds, before, slot = bins.types, befores_of(streams), slots_of(streams, bins.slot_of)
    follows = np.full((kinds + 1, kinds), UNSEEN)
    np.add.at(follows, (before, streams.event), 1.0)
    types = follows / follows.sum(axis=1, keepdims=True)
    counts = np.full((bins.slots, bins.columns), UNSEEN)
    np.add.at(counts, (slot, bins.column_of(slot, streams.gap_us)), 1.0)
    # Every stream ends once, while it waits for some type.
    ended = np.bincount(1 + streams.event[streams.first[1:] - 1], minlength=kinds + 1)
    np.add.at(counts[:, -1], bins.slot_of[1:], ended[1:, None] * types[1:])
    shares = counts / counts.sum(axis=1, keepdims=True)
    heads.gap_bias.copy_(torch.from_numpy(np.log(shares * bins.columns).astype(np.float32)))
    heads.type_bias.copy_(torch.from_numpy(np.log(types * kinds).astype(np.float32)))


def grammar_of(task: Task) -> Grammar:
    """The automaton of the machine if it is known, else the one learned from the streams."""
    if task.options.extra.get("free"):
        return free_grammar(len(task.streams.events))
    if task.options.machine is not None:
        return machine_grammar(task.options.machine, task.streams.events)
    return learn_grammar(task.streams)


def _fit_part(task: Task) -> tuple[GruModel, Trained]:
    extra, own = task.options.extra, task.streams
    recipe, start = task.recipe, task.start
    hidden = int(extra.get("hidden", HIDDEN))
    if hidden % 8 or not 8 <= hidden <= 1024:
        raise BadInputError(f"hidden (={hidden}) must be a multiple of 8 from 8 to 1024.")
    grammar = grammar_of(task)  # first: an event that the machine does not know should not cost a training
    torch.manual_seed(recipe.seed)
    classes, device = len(own.classes), torch_device(recipe.device)
    if isinstance(start, GruModel):
        bins, scale = start.bins, start.weights.scale
        network = GruNetwork(classes, start.weights.hidden, bins)
        network.take(start.weights)
        recipe = recipe if "rate" in extra else replace(recipe, rate=FINE_TUNING_RATE)
    else:
        bins = fit_stream_bins(own, int(extra.get("bins", BINS)))
        scale = log_scale(own)
        network = GruNetwork(classes, hidden, bins)
        begin_at_marginals(network.heads, bins, own)
    targets = BinTargets(rows_of(own), bins, scale, classes, device)
    held_out = BinTargets(rows_of(task.held_out), bins, scale, classes, device)
    trained = train(
        network,
        targets,
        held_out,
        recipe,
        progress=task.options.progress,
        until_nats=extra.get("until_nats"),
    )
    return GruModel(network.export(scale), bins, grammar), trained
