"""A small study: one model of three blocks on two classes, with prices, as files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

BLOCKS_US = {"L4": (4_000, 3_000, 3_000), "T4": (16_000, 9_000, 8_000)}


def write_study(folder: Path, *, slo_ms: float = 40.0, planner: dict[str, Any] | None = None) -> Path:
    """Write profile and scenario into ``folder``; the path of the scenario. Batch 2 takes 1.8 times batch 1."""
    profile = folder / "profiles" / "detector"
    profile.mkdir(parents=True, exist_ok=True)
    header = {
        "version": 1,
        "model": {"name": "detector"},
        "blocks": [
            {"name": f"b{i}", "operators": [], "parameter_bytes": 0, "peak_activation_bytes": 0}
            for i in range(3)
        ],
        "boundary_bytes": [0, 600_000, 200_000, 0],
        "provenance": {"kind": "measured", "device": "toy", "software": "toy", "date": "2025-01-01"},
    }
    (profile / "profile.json").write_text(json.dumps(header))
    rows = [
        f"{name},1,b{i},{batch},{round(us * (0.2 + 0.8 * batch))}"
        for name, blocks in BLOCKS_US.items()
        for i, us in enumerate(blocks)
        for batch in (1, 2)
    ]
    (profile / "latency.csv").write_text("\n".join(["device_class,share,block,batch,latency_us", *rows]))
    scenario = folder / "scenario.yaml"
    document = {
        "version": 1,
        "cluster": {
            "bandwidth_gbps": 10,
            "device_classes": {
                "L4": {"count": 2, "hourly_cost": 0.8},
                "T4": {"count": 4, "hourly_cost": 0.4},
            },
        },
        "models": [{"name": "detector", "profile": "profiles/detector", "slo_ms": slo_ms}],
        "planner": planner or {},
    }
    scenario.write_text(yaml.safe_dump(document))
    return scenario
