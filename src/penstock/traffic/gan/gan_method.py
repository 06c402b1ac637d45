"""Method ``gan``: in the manner of DoppelGANger (Lin, Jain, Wang, Fanti, Sekar, IMC 2020, section 4), as
NetShare uses it.

An LSTM turns noise into several events at a time, each (type as softmax, scaled log of the gap, flag "the stream goes
on"); a feed-forward critic reads whole streams; the loss is Wasserstein's with a gradient penalty. The class of
a stream is an input of both, as its attribute. Where we differ: the attribute is drawn from its shares, not
generated, and gaps are scaled over the trace, not stream by stream.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from penstock.traffic.generator.bundle import Arrays, BundleFile, PartFacts
from penstock.traffic.generator.learned import LearnedGenerator, Request, load_learned
from penstock.traffic.generator.protocol import FitOptions
from penstock.traffic.generator.sampling import Rows
from penstock.traffic.generator.torch.transformer import network_arrays, scale_of
from penstock.traffic.generator.torch_extra import need_torch
from penstock.traffic.streams import Streams

METHOD = "gan"


@dataclass(frozen=True)
class GanModel:
    """A trained generator: ``state`` are PyTorch's arrays by name; ``scale`` the least and largest log gap."""

    state: Arrays
    scale: NDArray[np.float32]
    kinds: int
    classes: int

    def draw(self, request: Request) -> Rows:
        """The streams."""
        need_torch("traffic generate with a bundle of method gan")
        from penstock.traffic.gan.gan_network import draw_gan

        rows: Rows = draw_gan(self, request)
        return rows

    def arrays(self) -> Arrays:
        """All arrays by name."""
        return {**{f"network.{name}": array for name, array in self.state.items()}, "scale": self.scale}


def build(facts: PartFacts, arrays: Arrays, header: BundleFile) -> GanModel:
    """The model of a bundle's part."""
    return GanModel(network_arrays(arrays), scale_of(arrays), len(header.events), len(header.classes))


def load(folder: Path) -> LearnedGenerator:
    """The generator in the bundle ``folder``."""
    return load_learned(folder, METHOD, build)


def fit(streams: Streams, *, seed: int, options: FitOptions) -> LearnedGenerator:
    """Fit to ``streams``; the extra options of every learned method."""
    need_torch("traffic fit --method gan")
    from penstock.traffic.gan.gan_network import fit_gan

    return fit_gan(streams, seed=seed, options=options)
