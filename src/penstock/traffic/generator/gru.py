"""Method ``gru``, the default: one GRU, bins of the gap given the type, a censored window, an automaton of types.

Sampling needs no framework; :func:`fit` needs the extra ``torch``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.generator.bins import GapBins
from penstock.traffic.generator.bundle import Arrays, BundleFile, PartFacts
from penstock.traffic.generator.grammar import Grammar
from penstock.traffic.generator.gru_weights import GruWeights, check_weights
from penstock.traffic.generator.learned import LearnedGenerator, Request, load_learned
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows, sample_rows
from penstock.traffic.generator.torch_extra import need_torch
from penstock.traffic.streams import Streams

METHOD = "gru"


@dataclass(frozen=True)
class GruModel:
    """A trained network of the default method: a :class:`penstock.traffic.generator.learned.PartModel`."""

    weights: GruWeights
    bins: GapBins
    grammar: Grammar

    def draw(self, request: Request) -> Rows:
        """The streams, by the compiled kernel, or on a GPU by PyTorch, whose sums differ in the last bits."""
        if request.device != "cpu":
            need_torch("traffic generate on a GPU")
            from penstock.traffic.generator.torch.gru_fit import draw_on_device

            return draw_on_device(self, request)
        return sample_rows(
            self.weights,
            self.bins,
            self.grammar,
            streams=request.streams,
            klass=request.klass,
            seed=request.seed,
            window_us=request.window_us,
            most_events=request.most_events,
            threads=request.threads,
            block=request.batch,
        )

    def arrays(self) -> Arrays:
        """All arrays by name."""
        return {**self.weights._asdict(), **tables_to_keep(self.bins, self.grammar)}


def build(facts: PartFacts, arrays: Arrays, header: BundleFile) -> GruModel:
    """The model of a bundle's part. Raises :class:`BadInputError` for arrays that do not fit together."""
    grammar, bins = tables_of(arrays, header)
    weights = check_weights(arrays, len(header.events), len(header.classes), bins.slots, bins.columns)
    return GruModel(weights, bins, grammar)


def tables_of(arrays: Arrays, header: BundleFile) -> tuple[Grammar, GapBins]:
    """The automaton and the bins, checked: the kernels read them by address."""
    missing = [name for name in ("edges", "slot_of", "next_state") if name not in arrays]
    if missing:
        raise BadInputError(f"arrays {', '.join(missing)} are missing.")
    bins = GapBins(
        np.asarray(arrays["edges"], arrays["edges"].dtype),
        np.asarray(arrays["slot_of"], arrays["slot_of"].dtype),
    )
    grammar = Grammar(np.asarray(arrays["next_state"], arrays["next_state"].dtype))
    kinds = len(header.events)
    if (bins.types, grammar.types) != (kinds, kinds):
        raise BadInputError(
            f"bins of {bins.types} types and an automaton of {grammar.types} types for {kinds} events."
        )
    return grammar, bins


def tables_to_keep(bins: GapBins, grammar: Grammar) -> dict[str, NDArray[np.generic]]:
    """The arrays that :func:`tables_of` reads."""
    return {"edges": bins.edges, "slot_of": bins.slot_of, "next_state": grammar.next_state}


def load(folder: Path) -> LearnedGenerator:
    """The generator in the bundle ``folder``."""
    return load_learned(folder, METHOD, build)


def fit(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """Fit to ``streams``; see :func:`penstock.traffic.generator.torch.gru_fit.fit_gru` for the options."""
    need_torch("traffic fit --method gru")
    from penstock.traffic.generator.torch.gru_fit import fit_gru

    return fit_gru(streams, seed=seed, options=options)
