"""A profile as a result: the latency of each block on each class."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from penstock.api.showing.shown import Shown
from penstock.api.showing.tables import Part, table
from penstock.profile.table import Profile

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class ProfileResult(Shown):
    """The ``profile`` that was written to ``output``."""

    profile: Profile
    output: Path
    warnings: tuple[str, ...] = ()

    def parts(self) -> list[Part]:
        """One row a block: its size, and its latency at batch 1 on the least share of each class."""
        profile = self.profile
        classes = [
            (name, share) for name, share in sorted(profile.tables) if share == profile.shares_of(name)[0]
        ]
        headings = (name if self._kind(name) == "measured" else f"{name}*" for name, _ in classes)
        return [
            table(
                f"{profile.model}: latency at batch 1, in us (* not measured)",
                ["block", "operators", "param MB", "output KB", *headings],
                [
                    [
                        block.name,
                        len(block.operators),
                        f"{block.parameter_bytes / 1e6:.2f}",
                        f"{profile.boundary_bytes[index + 1] / 1e3:.1f}",
                        *(int(profile.table(*key).latency_us[index, 0]) for key in classes),
                    ]
                    for index, block in enumerate(profile.blocks)
                ],
            ),
            *self._links(),
        ]

    def _links(self) -> list[Part]:
        rows = [
            [
                name,
                one.kind.replace("-", " "),
                one.peer or "-",
                {None: "-", True: "direct", False: "through the host"}[one.is_direct],
                f"{one.fixed_us:.1f}",
                f"{one.gbytes_per_s:.1f}",
                f"{one.gbps:.0f}",
            ]
            for name, links in sorted(self.profile.links.items())
            for one in links
        ]
        headings = ["class", "copy", "other device", "how", "start us", "GB/s", "Gbit/s"]
        return [table("Copies of a device, one at a time", headings, rows)] if rows else []

    def _kind(self, device_class: str) -> str:
        return self.profile.provenance_of(device_class).kind

    def document(self) -> dict[str, Any]:
        """Blocks, cuts, and all tables."""
        profile = self.profile
        return {
            "model": profile.model,
            "output": str(self.output),
            "boundary_bytes": list(profile.boundary_bytes),
            "blocks": [
                {"name": b.name, "operators": len(b.operators), "parameter_bytes": b.parameter_bytes}
                for b in profile.blocks
            ],
            "whole_us": dict(profile.whole_us),
            "links": {name: [vars(one) for one in links] for name, links in sorted(profile.links.items())},
            "cuts": {
                name: {**vars(cut), "boundaries": list(cut.boundaries), "cost": cut.cost}
                for name, cut in profile.cuts.items()
            },
            "tables": [
                {
                    "device_class": name,
                    "share": share,
                    "kind": self._kind(name),
                    "latency_us": found.latency_us.tolist(),
                    "p99_us": None if found.p99_us is None else found.p99_us.tolist(),
                    "runs": found.runs,
                }
                for (name, share), found in sorted(profile.tables.items())
            ],
        }

    def records(self) -> list[dict[str, Any]]:
        """One row for each device class, share, block and batch."""
        return [
            {
                "device_class": name,
                "share": share,
                "block": block.name,
                "batch": column + 1,
                "latency_us": int(found.latency_us[row, column]),
                "p99_us": None if found.p99_us is None else int(found.p99_us[row, column]),
                "is_interpolated": column + 1 not in found.batches,
            }
            for (name, share), found in sorted(self.profile.tables.items())
            for row, block in enumerate(self.profile.blocks)
            for column in range(found.max_batch)
        ]

    def plot(self) -> Figure:
        """The latency of the whole model by batch, on each class and share."""
        from penstock.api.showing.pictures import lines

        curves = {
            name if share == 1 else f"{name} 1/{share}": [
                (batch + 1.0, float(us) / 1e3) for batch, us in enumerate(found.latency_us.sum(axis=0))
            ]
            for (name, share), found in sorted(self.profile.tables.items())
        }
        return lines(curves, "batch", "latency of the model (ms)")
