"""Method ``published``: CPT-GPT (Kong, Hu, Hu, Meng, Koral, IMC 2024, sections 4 and 5), without domain knowledge.

A token is (type as one-hot, scaled log of the gap, stop flag). A decoder-only transformer of two blocks, width 128 and
feed-forward width 1024, predicts the next one with three heads: type, mean and deviation of a Gaussian, stop. The first
event is drawn from its distribution in the trace, here kept as shares and quantile bins so that no row is kept.
Where we differ: the class is a part of the token, so that one model serves several; streams end at the window as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.generator.bins import GapBins
from penstock.traffic.generator.bundle import Arrays, BundleFile, PartFacts
from penstock.traffic.generator.learned import LearnedGenerator, Request, load_learned
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.generator.torch.transformer import network_arrays, scale_of
from penstock.traffic.generator.torch_extra import need_torch
from penstock.traffic.streams import Streams

METHOD = "published"


@dataclass(frozen=True)
class FirstEvents:
    """Of the first event: ``types`` (classes, types) shares; ``bins`` and ``columns`` (types, finite bins)
    shares of its time; ``alone`` (classes,): the share of streams that have no second event.
    """

    types: NDArray[np.float64]
    bins: GapBins
    columns: NDArray[np.float64]
    alone: NDArray[np.float64]


@dataclass(frozen=True)
class PublishedModel:
    """A trained network: ``state`` are PyTorch's arrays by name."""

    state: Arrays
    first: FirstEvents
    scale: NDArray[np.float32]

    def draw(self, request: Request) -> Rows:
        """The streams."""
        need_torch("traffic generate with a bundle of method published")
        from penstock.traffic.published.published_network import draw_published

        return draw_published(self, request)

    def arrays(self) -> Arrays:
        """All arrays by name."""
        return {
            **{f"network.{name}": array for name, array in self.state.items()},
            "scale": self.scale,
            "first.types": self.first.types,
            "first.edges": self.first.bins.edges,
            "first.columns": self.first.columns,
            "first.alone": self.first.alone,
        }


def build(facts: PartFacts, arrays: Arrays, header: BundleFile) -> PublishedModel:
    """The model of a bundle's part."""
    kinds, classes = len(header.events), len(header.classes)
    names = ("first.types", "first.edges", "first.columns", "first.alone")
    missing = [name for name in names if name not in arrays]
    if missing:
        raise BadInputError(f"arrays {', '.join(missing)} are missing.")
    bins = GapBins(np.asarray(arrays["first.edges"], arrays["first.edges"].dtype))
    types, columns, alone = (
        np.asarray(arrays[name], np.float64) for name in ("first.types", "first.columns", "first.alone")
    )
    wanted = ((classes, kinds), (kinds, bins.columns - 1), (classes,), kinds)
    if (types.shape, columns.shape, alone.shape, bins.slots) != wanted:
        raise BadInputError("the distribution of first events does not fit the events and classes.")
    if not all(np.isfinite(array).all() and array.min() >= 0 for array in (types, columns, alone)):
        raise BadInputError("the distribution of first events holds shares that are no numbers >= 0.")
    return PublishedModel(network_arrays(arrays), FirstEvents(types, bins, columns, alone), scale_of(arrays))


def load(folder: Path) -> LearnedGenerator:
    """The generator in the bundle ``folder``."""
    return load_learned(folder, METHOD, build)


def fit(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """Fit to ``streams``; the extra options of every learned method."""
    need_torch("traffic fit --method published")
    from penstock.traffic.published.published_network import fit_published

    return fit_published(streams, seed=seed, options=options)
