"""A picture of the page, with what readers who do not see it need: a text and the numbers."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_IN = 5.4
"""The width of every picture: its letters are readable on a telephone and in a column of a paper."""
MOST_LETTERS = 22
"""The most letters of a name beside an axis; a longer one loses its middle. The CSV has it whole."""


def shortened(name: str) -> str:
    """``name``, or its two ends."""
    half = (MOST_LETTERS - 1) // 2
    return name if len(name) <= MOST_LETTERS else f"{name[:half]}…{name[-half:]}"


@dataclass(frozen=True)
class Picture:
    """``alt``: what the picture shows, in words and numbers. ``csv``: the data behind it."""

    caption: str
    alt: str
    figure: Figure
    csv: str

    @property
    def file_stem(self) -> str:
        """A name for files: no percent signs, which links would have to escape."""
        return "-".join(
            "".join(c if c.isalnum() or c in "-_." else " " for c in self.caption.lower()).split()
        )

    @property
    def csv_link(self) -> str:
        """The numbers as a link that needs no network."""
        return "data:text/csv;base64," + base64.b64encode(self.csv.encode()).decode()


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """``rows`` under a header. Floats keep six digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{value:.6g}" if isinstance(value, float) else value for value in row])
    return out.getvalue()
