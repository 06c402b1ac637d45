"""The logic of ``benchmarks/device_gpu.py`` with threads in place of a GPU. Its times mean nothing here."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def parts():
    sys.path.insert(0, str(BENCHMARKS))
    from device_gpu_parts import loaded, runs, sections, table, trace

    yield loaded, runs, sections, table, trace
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="module")
def held(parts):
    from device_gpu_parts.devices import open_device

    return parts[0].load(open_device(True), "fp32")


def test_copies_give_what_plain_execution_gives(held):
    assert held.largest_difference < 1e-5
    assert held.short.n_segments == 1
    assert len(held.long_whole.copies) == len(held.long_cut.copies)


def test_every_way_answers_every_job_and_parts_sum_to_the_latency(parts, held):
    _, runs, sections, table, trace = parts
    jobs = trace.lognormal_trace(2_000, 2.0, 24, 0.2, 1)
    assert jobs.due_us[-1] == pytest.approx(23 / 2_000 * 1e6)  # the realised rate is the nominal one
    report = {"rows": [], "skipped": [], "failed": []}
    first, others = sections.modes_of(0.8, 2)
    for mode in first + others:
        row = runs.run(held, jobs, mode, limit_s=20, stack=isinstance(mode, runs.Order))
        report["rows"].append({"dtype": "fp32", "mix": "paper", "load": 0.8, **row})
        dropped = row["lost"] if getattr(mode, "late", "") == "drop" else 0
        assert row["jobs"] == 24 and row["lost"] == dropped, row["mode"]
        assert row.get("is_clear", True)
        for told in row.get("stack", {}).values():
            *sum_of, total = told.values()
            assert sum(sum_of) == pytest.approx(total, abs=1.0)
    assert table.page(report).count("| srpt, cut, window 2 |") == 3  # its row, and two of where its time goes
    json.dumps(report)


def test_without_a_gpu_it_skips():
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    ran = subprocess.run(
        [sys.executable, BENCHMARKS / "device_gpu.py"],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "no GPU" in json.loads(ran.stdout.splitlines()[-1])["skipped"]
