"""What every part prints: the figure measured beside what it is compared with, and whether it holds."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Table:
    """Rows of one question. ``claim`` counts towards the exit status, ``show`` does not."""

    title: str
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        print(f"\n## {self.title}", flush=True)

    def claim(self, what: str, measured: float | str, wanted: str, holds: bool) -> None:
        figure = f"{measured:.4g}" if isinstance(measured, float) else measured
        print(f"{'ok  ' if holds else 'MISS'} {what}: {figure} (wanted: {wanted})", flush=True)
        if not holds:
            self.failed.append(what)

    def show(self, text: str) -> None:
        print(f"     {text}", flush=True)
