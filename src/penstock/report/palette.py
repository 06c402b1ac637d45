"""The colours of all pictures, in one order; the first ones are told apart by colour-blind readers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

COLOURS = (
    "#1b6ca8", "#d1603d", "#3a7d44", "#7b4b94", "#c79a1b", "#4d4d4d", "#4fa3a5", "#b5446e", "#7a9a2e", "#8d6346",
)  # fmt: skip


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, so that a run keeps its colour through all pictures of a page."""
    return dict(zip(names, cycle(COLOURS), strict=False))
