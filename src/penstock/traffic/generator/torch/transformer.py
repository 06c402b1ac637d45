"""Method ``transformer``: the heads of the default on a small transformer. It learns slower a second, and
samples slower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadInputError
from penstock.traffic.generator.bins import GapBins
from penstock.traffic.generator.bundle import Arrays, BundleFile, PartFacts
from penstock.traffic.generator.grammar import Grammar
from penstock.traffic.generator.gru import tables_of, tables_to_keep
from penstock.traffic.generator.learned import LearnedGenerator, Request, load_learned
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.generator.torch_extra import need_torch
from penstock.traffic.streams import Streams

METHOD = "transformer"


@dataclass(frozen=True)
class TransformerModel:
    """A trained network: ``state`` are PyTorch's arrays by name."""

    state: Arrays
    bins: GapBins
    grammar: Grammar
    scale: NDArray[np.float32]
    classes: int

    def draw(self, request: Request) -> Rows:
        """The streams."""
        need_torch("traffic generate with a bundle of method transformer")
        from penstock.traffic.generator.torch.transformer_network import draw_transformer

        return draw_transformer(self, request)

    def arrays(self) -> Arrays:
        """All arrays by name."""
        return {
            **{f"network.{name}": array for name, array in self.state.items()},
            **tables_to_keep(self.bins, self.grammar),
            "scale": self.scale,
        }


def network_arrays(arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Those of the network, finite. Raises :class:`BadInputError` otherwise."""
    state = {
        name.removeprefix("network."): array for name, array in arrays.items() if name.startswith("network.")
    }
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise BadInputError(f"weights: {name} holds values that are not finite.")
    if not state:
        raise BadInputError("the arrays of the network are missing.")
    return state


def scale_of(arrays: Arrays) -> NDArray[np.float32]:
    """Mean and deviation of log gaps, checked."""
    scale = arrays.get("scale")
    if scale is None or scale.shape != (2,) or not np.isfinite(scale).all() or not float(scale[1]) > 0:
        raise BadInputError("array scale must hold a mean, and a deviation above 0.")
    return np.asarray(scale, np.float32)


def build(facts: PartFacts, arrays: Arrays, header: BundleFile) -> TransformerModel:
    """The model of a bundle's part; the network's own arrays are checked when it is first sampled."""
    grammar, bins = tables_of(arrays, header)
    return TransformerModel(network_arrays(arrays), bins, grammar, scale_of(arrays), len(header.classes))


def load(folder: Path) -> LearnedGenerator:
    """The generator in the bundle ``folder``."""
    return load_learned(folder, METHOD, build)


def fit(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """Fit to ``streams``; extra options ``width``, ``blocks``, ``bins``, and those of every learned method."""
    need_torch("traffic fit --method transformer")
    from penstock.traffic.generator.torch.transformer_network import fit_transformer

    return fit_transformer(streams, seed=seed, options=options)
