"""Compiles what serving and simulating need, on an emulated plan: the first use takes long, the next ones do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gpu_parts.common import penstock
from gpu_parts.serving import load, write_plan
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance
from penstock.serve.local_server import LocalServer


def warm_up(work: Path) -> None:
    folder = work / "warm-up"
    folder.mkdir()
    table = LatencyTable(np.array([[2000, 2200]] * 2, np.int64), np.array([[2100, 2300]] * 2, np.int64), 10)
    profile = Profile(
        model="idle",
        blocks=(Block("b0", ("a",), 0, 0), Block("b1", ("b",), 0, 0)),
        boundary_bytes=(64, 64, 64),
        tables={("x", 1): table, ("y", 1): table},
        provenance=Provenance("imported", "none", "none", "2026-01-01"),
    )
    save_profile(profile, folder / "profile")
    stages = [
        {"blocks": [0, 1], "device_class": "x", "workers": 1},
        {"blocks": [1, 2], "device_class": "y", "workers": 1},
    ]
    plan = write_plan(folder, profile, stages, 2, 500_000, {"x": 1, "y": 1})
    penstock(["simulate", str(plan), "--seconds", "1"], timeout_s=120)
    with LocalServer(plan, ["--executor", "emulated"], ready_s=120.0) as server:
        load(server.url, "idle", 20, 1.0, 0)
