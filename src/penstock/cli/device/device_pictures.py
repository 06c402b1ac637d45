"""Figures of ``penstock device`` as SVG files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from penstock.cli.common.output import note
from penstock.files import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_figures(folder: Path, drawn: Mapping[str, Figure], *, force: bool) -> None:
    """Write one file per figure, named after its caption. Either the whole folder is written, or nothing."""
    from penstock.report.figures import to_svg

    def fill(made: Path) -> None:
        made.mkdir()
        for caption, figure in drawn.items():
            name = "-".join("".join(c if c.isalnum() else " " for c in caption.lower()).split())
            (made / f"{name}.svg").write_text(to_svg(figure), encoding="utf-8")

    write_whole(folder, fill, force=force)
    note(f"{folder}: {len(drawn)} figures")
