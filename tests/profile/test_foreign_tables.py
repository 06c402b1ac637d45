"""Tables of other tools become profiles: own numbers could only be given batch by batch in our own format."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from penstock.cli.main import cli
from penstock.errors import BadInputError
from penstock.profile.foreign.batch_times import BatchTime, one_block_profile
from penstock.profile.foreign.read import read_times
from penstock.profile.store import load_profile

TRTEXEC = """[05/08/2024-14:05:14] [I] Input inference shape : x=8x3x224x224
[05/08/2024-14:05:14] [I] === Performance summary ===
[05/08/2024-14:05:14] [I] Throughput: 130.298 qps
[05/08/2024-14:05:14] [I] Latency: min = 5.4 ms, max = 13 ms, mean = 7.6 ms, median = 7.1609 ms, percentile(90%) = 10.3 ms, percentile(95%) = 10.9 ms, percentile(99%) = 12.9675 ms
[05/08/2024-14:05:14] [I] H2D Latency: min = 0.006 ms, max = 0.07 ms, mean = 0.01 ms, median = 0.008 ms, percentile(90%) = 0.025 ms, percentile(95%) = 0.027 ms, percentile(99%) = 0.05 ms
[05/08/2024-14:05:14] [I] GPU Compute Time: min = 5.3 ms, max = 13.3 ms, mean = 7.5 ms, median = 7.14 ms, percentile(99%) = 12.9 ms
"""  # noqa: E501
PERF = """*** Measurement Settings ***
  Batch size: 4
Request concurrency: 1
  Client:
    p50 latency: 2000 usec
    p90 latency: 2200 usec
    p95 latency: 2300 usec
    p99 latency: 2600 usec
  Server:
    Avg request latency: 1500 usec (overhead 100 usec + queue 50 usec + compute input 200 usec + compute infer 1000 usec + compute output 150 usec)
Request concurrency: 2
  Client:
    p50 latency: 4000 usec
    p99 latency: 5000 usec
"""  # noqa: E501
PERF_CSV = """Concurrency,Inferences/Second,Client Send,Network+Server Send/Recv,Server Queue,Server Compute Input,Server Compute Infer,Server Compute Output,Client Recv,p50 latency,p90 latency,p95 latency,p99 latency
1,100,1,2,3,200,1000,150,4,2000,2200,2300,2600
2,180,1,2,900,200,1000,150,4,4000,4200,4300,5000
"""  # noqa: E501
ANALYZER = """Model,Batch,Concurrency,Model Config Path,Instance Group,p99 Latency (ms),Avg Latency (ms)
m,1,1,m_config_default,1:GPU,3.0,2.0
m,8,1,m_config_default,1:GPU,9.0,8.0
m,8,1,m_config_3,2:GPU,8.5,7.5
m,8,4,m_config_3,2:GPU,30.0,28.0
"""


def times(tmp_path: Path, text: str, batch: int | None = None) -> list[BatchTime]:
    path = tmp_path / "table"
    path.write_text(text)
    return read_times([(batch, path)])[1]


def test_the_log_of_trtexec(tmp_path: Path):
    """Its latency with copies, not the copies alone nor the computation alone; the batch from the shapes."""
    (one,) = times(tmp_path, TRTEXEC)
    assert one == BatchTime(8, pytest.approx(7160.9), pytest.approx(12967.5))
    assert times(tmp_path, TRTEXEC, 16)[0].batch == 16


def test_the_exported_times_of_trtexec(tmp_path: Path):
    runs = [{"startInMs": 0, "latencyMs": value, "computeMs": 0.1} for value in (1.0, 2.0, 4.0)]
    assert times(tmp_path, json.dumps(runs), 2) == [BatchTime(2, 2000.0, 4000.0)]
    with pytest.raises(BadInputError, match="Write it before the name: 8=table"):
        times(tmp_path, json.dumps(runs))


def test_perf_analyzer_at_concurrency_1_without_network_and_queue(tmp_path: Path):
    # 200 + 1000 + 150 us of the server; the percentile is 600 us above the median.
    assert times(tmp_path, PERF) == [BatchTime(4, 1350.0, 1950.0)]
    assert times(tmp_path, PERF_CSV, 4) == [BatchTime(4, 1350.0, 1950.0)]
    with pytest.raises(BadInputError, match="does not say which batch"):
        times(tmp_path, PERF_CSV)


def test_model_analyzer_takes_the_fastest_configuration_of_each_batch(tmp_path: Path):
    assert times(tmp_path, ANALYZER) == [BatchTime(1, 2000.0, 3000.0), BatchTime(8, 7500.0, 8500.0)]


def test_what_is_of_no_tool_and_what_is_of_two(tmp_path: Path):
    with pytest.raises(BadInputError, match="not the output of trtexec, perf-analyzer, model-analyzer"):
        times(tmp_path, "hello")
    (tmp_path / "a").write_text(TRTEXEC)
    (tmp_path / "b").write_text(PERF)
    with pytest.raises(BadInputError, match="one tool at a time"):
        read_times([(None, tmp_path / "a"), (None, tmp_path / "b")])
    with pytest.raises(BadInputError, match="batch 8 is given twice"):
        one_block_profile("m", "T4", [BatchTime(8, 1.0, None), BatchTime(8, 2.0, None)], tool="t")


def test_imported_tables_make_a_profile_that_plans(tmp_path: Path):
    for name, text in (("b1.log", TRTEXEC), ("b4.log", TRTEXEC)):
        (tmp_path / name).write_text(text)
    files = [f"1={tmp_path / 'b1.log'}", f"4={tmp_path / 'b4.log'}"]
    out = tmp_path / "profile"
    made = CliRunner().invoke(
        cli, ["import", "latencies", *files, "--device-class", "T4", "--name", "m", "-o", str(out)]
    )
    assert made.exit_code == 0, made.output
    again = CliRunner().invoke(
        cli,
        ["import", "latencies", files[0], "--device-class", "L4", "--name", "m", "-o", str(out), "--merge"],
    )
    assert again.exit_code == 0, again.output
    profile = load_profile(out)
    assert profile.device_classes == ("L4", "T4")
    assert profile.table("T4", 1).batches == (1, 4)
    assert profile.table("T4", 1).latency_us.tolist() == [[7161] * 4]
    (tmp_path / "scenario.yaml").write_text(
        "version: 1\ncluster: {bandwidth_gbps: 10, device_classes: {T4: {count: 1}, L4: {count: 0}}}\n"
        "models: [{name: m, profile: profile, slo_ms: 100}]\n"
    )
    planned = CliRunner().invoke(cli, ["plan", str(tmp_path / "scenario.yaml")])
    assert planned.exit_code == 0, planned.output
