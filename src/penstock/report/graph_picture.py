"""A partitioned graph as a picture: operators in layers from top to bottom, coloured by stage, as plain SVG."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

COLOURS = (
    "#1b6ca8", "#d1603d", "#3a7d44", "#7b4b94", "#c79a1b", "#4d4d4d", "#4fa3a5", "#b5446e", "#7a9a2e", "#8d6346",
)  # fmt: skip
"""Neighbouring stages are told apart by colour; with more than ten stages colours come round again."""

_STEP_X, _STEP_Y, _RADIUS, _MARGIN = 22, 20, 6, 24


def graph_picture(
    operators: Sequence[str], edges: Sequence[tuple[int, int]], block: Sequence[int], title: str
) -> str:
    """An ``<svg>`` element; ``edges`` are (maker, user) by index, ``operators`` in topological order.

    An operator's layer is the longest way to it; within a layer it stands near the mean of those it uses.
    Hovering shows its name and stage; edges between stages are dark.
    """
    layer = _layers(len(operators), edges)
    place = _places(layer, edges)
    wide = (max(place) + 1) * _STEP_X + 2 * _MARGIN
    high = (max(layer) + 1) * _STEP_Y + 3 * _MARGIN
    centre = [
        (_MARGIN + _RADIUS + place[i] * _STEP_X, 2 * _MARGIN + layer[i] * _STEP_Y)
        for i in range(len(operators))
    ]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" font-family="sans-serif">',
        f'<text x="{_MARGIN}" y="{_MARGIN}" font-size="13">{escape(title)}</text>',
    ]
    for maker, user in edges:
        (x1, y1), (x2, y2) = centre[maker], centre[user]
        colour, width = ("#222222", 1.4) if block[maker] != block[user] else ("#bbbbbb", 0.8)
        parts.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'
        )
    for name, (x, y), own in zip(operators, centre, block, strict=True):
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="{COLOURS[own % len(COLOURS)]}">'
            f"<title>{escape(name)}: stage {own}</title></circle>"
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _layers(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    layer = [0] * n
    for maker, user in sorted(edges):
        layer[user] = max(layer[user], layer[maker] + 1)
    return layer


def _places(layer: Sequence[int], edges: Sequence[tuple[int, int]]) -> list[float]:
    """Horizontal places: each layer sorted by the mean place of what its operators use, one step apart."""
    makers: list[list[int]] = [[] for _ in layer]
    for maker, user in edges:
        makers[user].append(maker)
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for index, own in enumerate(layer):
        rows[own].append(index)
    place = [0.0] * len(layer)
    for row in rows:
        wanted = {i: sum(place[m] for m in makers[i]) / len(makers[i]) if makers[i] else 0.0 for i in row}
        free = 0.0
        for index in sorted(row, key=lambda i: (wanted[i], i)):
            place[index] = max(free, wanted[index])
            free = place[index] + 1
    return place
