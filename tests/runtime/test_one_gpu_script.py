"""The benchmark for one GPU runs on a CPU: its logic, not its figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_section_runs_and_a_failure_would_show(tmp_path):
    """On a CPU no section is skipped for lack of time."""
    command = [
        sys.executable,
        "benchmarks/gpu.py",
        "--device",
        "cpu",
        "--budget",
        "30",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found == json.loads((tmp_path / "gpu.json").read_text())
    failed = {name: one["failed"] for name, one in found.items() if isinstance(one, dict) and "failed" in one}
    assert not failed, failed
    skipped = [name for name, one in found.items() if isinstance(one, dict) and "skipped" in one]
    assert not skipped, skipped
    assert found["warm_up"]["status"] == 0, found["warm_up"]
    shared = {
        how: one["failed"]
        for how, one in found["sharing"].items()
        if isinstance(one, dict) and "failed" in one
    }
    assert not shared, shared
    rows = found["executor"]["rows"]
    assert all(row["distance_to_onnxruntime"] < 1e-4 for row in rows if row["batch"] == 1)
    assert "Executor against a bare CUDA graph" in (tmp_path / "gpu.md").read_text()


@pytest.mark.slow
def test_a_section_that_fails_does_not_stop_the_others(tmp_path):
    """There is no GPU 99: each section says so, and the document is still made."""
    sections = "executor,hops"
    command = [
        sys.executable,
        "benchmarks/gpu.py",
        "--device",
        "cuda:99",
        "--budget",
        "60",
        "--out",
        str(tmp_path),
    ]
    done = subprocess.run(
        [*command, "--sections", sections], capture_output=True, text=True, timeout=300, cwd=ROOT, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert "sees 0 GPUs" in found["executor"]["failed"]
    assert "failed" in found["hops"]


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ("overhead", "Put 'profiles' before it"),
        ("two_stages,profiles", "Put 'profiles'"),
        ("foo", "unknown foo"),
    ],
)
def test_sections_that_cannot_run_are_refused_before_any_runs(tmp_path, sections, words):
    command = [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, "--sections", sections], capture_output=True, text=True, timeout=120, cwd=ROOT, check=False
    )
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out").exists()
