"""A partitioned graph as a picture: operators in layers from top to bottom, coloured by stage, as plain SVG."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from penstock.report.palette import COLOURS

Point = tuple[float, float]

_STEP_X, _STEP_Y, _RADIUS, _MARGIN, _LEGEND_STEP, _TITLE_WIDTH = 22, 20, 6, 24, 34, 240


def graph_picture(
    operators: Sequence[str], edges: Sequence[tuple[int, int]], block: Sequence[int], title: str
) -> str:
    """An ``<svg>`` element; ``edges`` are (maker, user) by index, ``operators`` in topological order.

    An operator's layer is the longest way to it; within a layer it stands near the mean of those it uses.
    Hovering shows its name and stage; edges between stages are dark.
    """
    layer = _layers(len(operators), edges)
    place = _places(layer, edges)
    top = 2 * _MARGIN + _RADIUS
    wide = max((max(place) + 1) * _STEP_X, _LEGEND_STEP * (max(block) + 1), _TITLE_WIDTH) + 2 * _MARGIN
    high = (max(layer) + 1) * _STEP_Y + top + _MARGIN
    centre = [
        (_MARGIN + _RADIUS + x * _STEP_X, top + _STEP_Y * (1 + own))
        for x, own in zip(place, layer, strict=True)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide:.0f}" height="{high:.0f}" '
            f'font-family="sans-serif">',
            f'<text x="{_MARGIN}" y="{_MARGIN}" font-size="13">{escape(title)}</text>',
            *_legend(max(block) + 1),
            *(_edge(centre[a], centre[b], block[a] != block[b]) for a, b in edges),
            *(_operator(*one) for one in zip(operators, centre, block, strict=True)),
            "</svg>\n",
        ]
    )


def _legend(stages: int) -> Iterator[str]:
    """A dot and the number of each stage, in a line under the title."""
    y = 2 * _MARGIN - _RADIUS
    for stage in range(stages):
        x = _MARGIN + _RADIUS + stage * _LEGEND_STEP
        yield _dot((x, y), stage)
        yield f'<text x="{x + 9}" y="{y + 4}" font-size="11">{stage}</text>'


def _dot(centre: Point, stage: int) -> str:
    x, y = centre
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_RADIUS}" fill="{COLOURS[stage % len(COLOURS)]}"/>'


def _operator(name: str, centre: Point, stage: int) -> str:
    return f"<g><title>{escape(name)}: stage {stage}</title>{_dot(centre, stage)}</g>"


def _edge(start: Point, stop: Point, between_stages: bool) -> str:
    (x1, y1), (x2, y2) = start, stop
    colour, width = ("#222222", 1.4) if between_stages else ("#bbbbbb", 0.8)
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
        f'stroke="{colour}" stroke-width="{width}"/>'
    )


def _layers(n: int, edges: Sequence[tuple[int, int]]) -> list[int]:
    layer = [0] * n
    for maker, user in sorted(edges):
        layer[user] = max(layer[user], layer[maker] + 1)
    return layer


def _places(layer: Sequence[int], edges: Sequence[tuple[int, int]]) -> list[float]:
    """Horizontal places from 0: each layer sorted by the mean place of what its operators use, a step apart."""
    makers: list[list[int]] = [[] for _ in layer]
    for maker, user in edges:
        makers[user].append(maker)
    rows: list[list[int]] = [[] for _ in range(max(layer) + 1)]
    for index, own in enumerate(layer):
        rows[own].append(index)
    place = [0.0] * len(layer)
    for row in rows:
        wanted = {i: sum(place[m] for m in makers[i]) / len(makers[i]) if makers[i] else 0.0 for i in row}
        ordered = sorted(row, key=lambda i: (wanted[i], i))
        free = float("-inf")
        for index in ordered:
            place[index] = max(free, wanted[index])
            free = place[index] + 1
        # Centred on what the row wanted: pushing apart goes both ways, or the picture drifts to the right.
        drift = sum(place[i] - wanted[i] for i in row) / len(row)
        for index in ordered:
            place[index] -= drift
    least = min(place)
    return [x - least for x in place]
