"""How long bytes take from one memory to another, as a profile keeps it: to and from a device, and between devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

LinkKind = Literal["host-to-device", "device-to-host", "device-to-device"]
LINK_KINDS: tuple[LinkKind, ...] = get_args(LinkKind)


@dataclass(frozen=True)
class Link:
    """``n`` bytes take ``fixed_us + n / gbytes_per_s / 1000`` microseconds (1 GB is 10^9 bytes).

    ``peer``: the UUID, else the name, of the other device, if there is one. ``is_direct``: the two devices reach each
    other's memory; else the driver goes through the host's.
    """

    kind: LinkKind
    fixed_us: float
    gbytes_per_s: float
    peer: str = ""
    is_direct: bool | None = None

    def copy_us(self, size_bytes: int) -> float:
        """The time for ``size_bytes``."""
        return self.fixed_us + size_bytes / self.gbytes_per_s / 1e3

    @property
    def gbps(self) -> float:
        """The rate in 10^9 bits a second, as a scenario states bandwidth."""
        return self.gbytes_per_s * 8


def fit_link(
    kind: LinkKind,
    sizes_bytes: Sequence[int],
    times_us: Sequence[float],
    peer: str = "",
    is_direct: bool | None = None,
) -> Link:
    """The line through ``times_us`` that is nearest in relative terms: small copies count as much as large ones.

    Two sizes at least. A fixed time below 0 is taken as 0, and if the size explains nothing, the rate is that of the
    largest copy.
    """
    sizes, times = np.asarray(sizes_bytes, float), np.asarray(times_us, float)
    weights = 1.0 / times
    rows = np.stack([weights, sizes * weights], axis=1)
    (fixed_us, us_per_byte), *_ = np.linalg.lstsq(rows, np.ones(len(times)), rcond=None)
    if fixed_us < 0:
        fixed_us, us_per_byte = 0.0, float((sizes * weights).sum() / ((sizes * weights) ** 2).sum())
    if us_per_byte * sizes[-1] < times[-1] / 1000:
        us_per_byte = times[-1] / sizes[-1]
    return Link(kind, round(float(fixed_us), 3), round(1e-3 / float(us_per_byte), 3), peer, is_direct)
