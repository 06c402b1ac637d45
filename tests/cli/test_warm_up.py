"""After ``penstock warm-up`` no verb compiles: not on a plan of whole batches, and not on one with split stages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from penstock.plan.documents.plan import has_split_stages
from penstock.plan.documents.store import load_plan
from penstock.profile.store import save_profile
from penstock.profile.table import Block, LatencyTable, Profile, Provenance

VERBS = (
    ("plan", "scenario.yaml", "-o", "plan.json"),
    ("simulate", "plan.json", "--load", "0.8", "--seconds", "2"),
    ("simulate", "plan.json", "--load", "0.8", "--seconds", "2", "--policy", "edf", "--no-noise"),
    # With the closed loop of ``plan --hold``.
    ("compare", "scenario.yaml", "--planner", "np", "--seconds", "1", "--seeds", "1"),
)

RUN = """
import json, sys
from penstock.cli.main import cli
from penstock.cli.warm_up.small_runs import run_every_kernel
from penstock.kernels import KERNELS

def signatures():
    return {f"{kernel.__module__}.{kernel.__name__}": len(kernel.signatures) for kernel in KERNELS}

run_every_kernel()
warm = signatures()
for verb in json.loads(sys.argv[1]):
    cli.main(verb, standalone_mode=False)
# Not what compiled: code that an earlier run left in the cache would hide it.
more = [name for name, count in signatures().items() if count > warm.get(name, 0)]
print("NOT WARM:", *more, file=sys.stderr)
"""


def write_scenario(folder: Path, split_stages: int) -> None:
    """Two blocks, each best on another class. On ``a`` a batch takes as long as its requests one by one."""
    times_us = {
        "a": [[2_000, 4_000, 6_000, 8_000], [90_000] * 4],
        "b": [[90_000] * 4, [900, 1_000, 1_100, 1_200]],
    }
    profile = Profile(
        model="m",
        blocks=(Block("b0", (), 0, 0), Block("b1", (), 0, 0)),
        boundary_bytes=(0, 1_000, 0),
        tables={(name, 1): LatencyTable(np.array(rows, np.int64)) for name, rows in times_us.items()},
        provenance=Provenance("measured", "toy", "toy", "2026-01-01"),
    )
    save_profile(profile, folder / "m")
    scenario = {
        "version": 1,
        "cluster": {"bandwidth_gbps": 10, "device_classes": {"a": {"count": 8}, "b": {"count": 1}}},
        "models": [{"name": "m", "profile": "m", "slo_us": 8_000}],
        "planner": {"max_stages": 2, "split_stages": split_stages},
    }
    (folder / "scenario.yaml").write_text(yaml.safe_dump(scenario))


@pytest.mark.compiled
@pytest.mark.parametrize("split_stages", [1, 4])
def test_nothing_compiles_after_warm_up(tmp_path: Path, split_stages: int) -> None:
    write_scenario(tmp_path, split_stages)
    run = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(VERBS)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    # What a server calls is in tests/test_kernels.py.
    assert run.stderr.partition("NOT WARM:")[2].split() == []
    assert has_split_stages(load_plan(tmp_path / "plan.json").plan) == (split_stages > 1)
