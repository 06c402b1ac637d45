"""A partitioned graph as a picture: one box for each stage, with its cost and what passes to the next.

The boxes stand in rows, so that a graph of any size fits one screen. A box lists its operators under the mouse pointer.
It is plain SVG with dark and light colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from math import ceil

import numpy as np

from penstock.arrays import I64
from penstock.partition.problem import PartitionProblem, block_costs

BOX_WIDTH, BOX_HEIGHT, GAP, MARGIN, TOP, SCREEN_WIDTH = 208, 92, 66, 20, 64, 1440
MOST_NAMED = 40
"""The most operators that a box lists."""
_LETTERS = 27

_STYLE = """<style>
text { font: 12px system-ui, sans-serif; fill: #1c2630; } .head { font-weight: 600; font-size: 13px; }
.title { font-weight: 600; font-size: 16px; } .soft { fill: #566370; }
.box { fill: #f6f8fa; stroke: #c3cbd2; } .worst { stroke: #a8321b; stroke-width: 2; }
.work { fill: #1b6ca8; } .in { fill: #7b4b94; } .out { fill: #c79a1b; } .streamed { fill: #d1603d; }
.arrow { stroke: #566370; fill: none; } .head-of-arrow { fill: #566370; } .ground { fill: #ffffff; }
@media (prefers-color-scheme: dark) { text { fill: #e4e9ee; }
.soft { fill: #a4b0bb; } .box { fill: #1b2229; stroke: #44505b; }
.ground { fill: #12171c; } .arrow { stroke: #a4b0bb; } .head-of-arrow { fill: #a4b0bb; } .worst { stroke: #ff9a80; }
.work { fill: #5aa7e0; } .in { fill: #b48bd0; } .out { fill: #e2bd4c; } .streamed { fill: #ef8a68; } }
</style>"""


@dataclass(frozen=True)
class Cut:
    """What passes from the stages up to one to those after it: distinct tensors, and the time to send each once."""

    tensors: int
    time: float


def cuts(problem: PartitionProblem, block: I64) -> list[Cut]:
    """The cut after each stage but the last. Tensors that only pass a stage by count too."""
    made = np.flatnonzero(problem.tensor_maker >= 0)
    first = block[problem.tensor_maker[made]]
    last = np.array([block[problem.users(int(t))].max(initial=-1) for t in made], dtype=np.int64)
    found = []
    for stage in range(int(block.max())):
        crossing = made[(first <= stage) & (last > stage)]
        found.append(Cut(len(crossing), float(problem.tensor_time[crossing].sum())))
    return found


def partition_picture(
    problem: PartitionProblem,
    block: I64,
    *,
    unit: str,
    bound: float | None = None,
    bytes_per_unit: float | None = None,
) -> str:
    """An ``<svg>`` element. Times are in ``unit``; ``bytes_per_unit``: what the network moves in one, if it is known.

    ``bound``: no partition into as many stages has a smaller bottleneck.
    """
    k = int(block.max()) + 1
    columns = _columns(k)
    width = 2 * MARGIN + columns * BOX_WIDTH + (columns - 1) * GAP
    height = TOP + -(-k // columns) * (BOX_HEIGHT + 34) + MARGIN
    scale = min(1.0, SCREEN_WIDTH / width)
    body = [*_boxes(problem, block, unit), *_arrows(cuts(problem, block), columns, unit, bytes_per_unit)]
    costs = block_costs(problem, block, k).total
    title = f"{problem.name}: {problem.n_operators} operators in {k} stages"
    proof = "" if bound is None else f", proven bound {bound:.5g} {unit}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            f'width="{width * scale:.0f}" height="{height * scale:.0f}" '
            f'role="img" aria-label="{escape(title)}">',
            _STYLE,
            f'<rect class="ground" width="{width}" height="{height}"/>',
            f'<text class="title" x="{MARGIN}" y="24">{escape(title)}</text>',
            f'<text class="soft" x="{MARGIN}" y="44">Bottleneck {costs.max():.5g} {unit} (stage {int(costs.argmax())})'
            f"{proof}. Bars: work blue, in purple, out yellow, streamed red.</text>",
            *body,
            "</svg>\n",
        ]
    )


def _columns(k: int) -> int:
    """Five fit a screen. Of more than eight rows, the picture becomes wider, and is shown smaller."""
    return min(k, 5) if k <= 40 else ceil(k / 8)


def _corner(stage: int, columns: int) -> tuple[int, int]:
    row, column = divmod(stage, columns)
    return MARGIN + column * (BOX_WIDTH + GAP), TOP + row * (BOX_HEIGHT + 34)


def _boxes(problem: PartitionProblem, block: I64, unit: str) -> Iterator[str]:
    k = int(block.max()) + 1
    columns = _columns(k)
    costs = block_costs(problem, block, k)
    most = float(costs.total.max()) or 1.0
    for stage in range(k):
        x, y = _corner(stage, columns)
        names = [problem.operators[i] for i in np.flatnonzero(block == stage)]
        listed = "\n".join(names[:MOST_NAMED]) + (
            f"\n... and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
        )
        is_worst = stage == int(costs.total.argmax())
        yield f"<g><title>{escape(listed)}</title>"
        yield (
            f'<rect class="box{" worst" if is_worst else ""}" x="{x}" y="{y}" width="{BOX_WIDTH}" '
            f'height="{BOX_HEIGHT}" rx="6"/>'
        )
        yield f'<text class="head" x="{x + 10}" y="{y + 19}">Stage {stage}: {costs.total[stage]:.4g} {unit}</text>'
        yield f'<text x="{x + 10}" y="{y + 37}">{escape(_cut_short(names[0]))}</text>'
        last = f"to {_cut_short(names[-1])}" if len(names) > 1 else ""
        yield f'<text x="{x + 10}" y="{y + 53}">{escape(last)}</text>'
        yield (
            f'<text class="soft" x="{x + 10}" y="{y + 69}">{len(names)} operator{"s" * (len(names) != 1)}, '
            f"work {costs.work[stage]:.4g}</text>"
        )
        left = float(x + 10)
        for kind in ("work", "in_", "out", "streamed"):
            long = (BOX_WIDTH - 20) * float(getattr(costs, kind)[stage]) / most
            yield (
                f'<rect class="{kind.strip("_")}" x="{left:.1f}" y="{y + 77}" width="{long:.1f}" height="7"/>'
            )
            left += long
        yield "</g>"


def _arrows(found: list[Cut], columns: int, unit: str, bytes_per_unit: float | None) -> Iterator[str]:
    for stage, cut in enumerate(found):
        x, y = _corner(stage, columns)
        amount = (
            f"{cut.time:.3g} {unit}" if bytes_per_unit is None else _bytes_text(cut.time * bytes_per_unit)
        )
        words = f"{cut.tensors} tensor{'s' * (cut.tensors != 1)}"
        if (stage + 1) % columns:
            start, middle = x + BOX_WIDTH, y + BOX_HEIGHT // 2
            end = start + GAP
            yield f'<path class="arrow" d="M {start + 3} {middle} H {end - 8}"/>'
            yield (
                f'<path class="head-of-arrow" d="M {end - 3} {middle} l -7 -4 v 8 z"/>'
                f'<text class="soft" x="{(start + end) / 2}" y="{middle - 8}" text-anchor="middle">{amount}</text>'
                f'<text class="soft" x="{(start + end) / 2}" y="{middle + 17}" text-anchor="middle">{words}</text>'
            )
        else:
            down = y + BOX_HEIGHT
            yield (
                f'<text class="soft" x="{x + BOX_WIDTH}" y="{down + 20}" text-anchor="end">{amount} in {words}, to the '
                f"next row</text>"
            )


def _cut_short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"{name[:12]}…{name[-14:]}"


def _bytes_text(size_bytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= size:
            return f"{size_bytes / size:.3g} {unit}"
    return f"{size_bytes:.0f} B"
