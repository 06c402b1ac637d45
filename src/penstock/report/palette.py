"""The colours of all pictures, in a fixed order. Colour-blind readers can distinguish the first ones.

On a page, each colour is a variable of the style sheet, so that a dark theme can use a lighter tone.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle

COLOURS = (
    "#1b6ca8", "#d1603d", "#3a7d44", "#7b4b94", "#c79a1b", "#4d4d4d", "#4fa3a5", "#b5446e", "#7a9a2e", "#8d6346",
)  # fmt: skip


def colours_of(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name, so that a run has the same colour in all pictures of a page."""
    return dict(zip(names, cycle(COLOURS), strict=False))


PAGE_COLOURS = {colour: f"var(--c{number})" for number, colour in enumerate(COLOURS)} | {
    "#000000": "var(--ink)",
    "#e4e4e4": "var(--line)",
    "#888888": "var(--soft)",
    "#c9ced3": "var(--free)",
    "#ffffff": "var(--paper)",
}
"""The variable of the page's style sheet for each colour that pictures use."""

DARK_COLOURS = (
    "#5aa7e0", "#ef8a68", "#6cb878", "#b48bd0", "#e2bd4c", "#a3a9b0", "#74c7c9", "#e07fa3", "#a9c95e", "#c39a7a",
)  # fmt: skip
"""The same colours for a dark page."""
