"""The real traces: what their authors and earlier measurements say of them comes out of the loaders."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from penstock.traffic.load import load_shape, load_trace
from penstock.traffic.load_figures import describe_trace
from penstock.traffic.processes.replay import TraceReplay

TRACES = Path(__file__).resolve().parents[3] / "shared" / "data" / "traces"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not TRACES.is_dir(), reason=f"no reference data at {TRACES}"),
]

CODE = TRACES / "azure_llm_2023" / "AzureLLMInferenceTrace_code.csv"


@pytest.mark.parametrize(
    ("file", "arrivals", "span_s", "cv"),
    [("code", 8_819, 3_435.948, 13.15), ("conv", 19_366, 3_501.722, 1.094)],
)
def test_azure_llm(file, arrivals, span_s, cv):
    trace = load_trace(TRACES / "azure_llm_2023" / f"AzureLLMInferenceTrace_{file}.csv")
    assert len(trace) == arrivals
    assert trace.time_us[-1] / 1e6 == pytest.approx(span_s, abs=0.001)
    assert describe_trace(trace).gap_cv == pytest.approx(cv, rel=0.001)


def test_mooncake_steps_by_three_seconds():
    trace = load_trace(TRACES / "mooncake" / "conversation_trace.jsonl")
    assert len(trace) == 12_031
    assert trace.period_us == pytest.approx(3_540_000_000, abs=3_000)
    assert describe_trace(trace).tied_share == pytest.approx(0.902, abs=0.001)


def test_azure_functions():
    sample = load_trace(TRACES / "invitro_azure" / "Azure2021_200.csv")
    assert len(sample) == 199
    assert sample.time_us[-1] / 1e6 == pytest.approx(1_200.013, abs=0.001)
    assert describe_trace(sample).names == {"stream": 31, "class": 13}
    by_minute = TRACES / "invitro_azure" / "Azure2019_example_invocations.csv"
    day = load_trace(by_minute)
    assert day.period_us == 86_400_000_000
    assert day.stream.codes.max() == 3
    assert load_shape(by_minute).weights.sum() == len(day) == 4_525


@pytest.mark.parametrize("scale", ["fold", "superpose"])
def test_a_scaled_trace_has_the_rate_asked_for(scale):
    """Averaged over windows; the scaled trace stays burstier than Poisson, whose index of dispersion is 1."""
    replay = TraceReplay(load_trace(CODE), scale)
    counts = np.array([len(replay(200.0, 10.0, own)) for own in np.random.default_rng(0).spawn(400)])
    assert counts.mean() == pytest.approx(2_000, abs=4 * counts.std() / 20)
    assert counts.var() / counts.mean() > 5
