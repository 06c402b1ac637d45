"""``penstock profile`` with a runtime of choice, on a CPU; interrupted and gone on with; under a stand-in for MPS."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_profile_command import invoke, write_chain

from penstock.api.measuring import Task
from penstock.errors import BadInputError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.machine_here import machine_at_hand
from penstock.profile.measuring import timing
from penstock.profile.measuring.copies import Copies
from penstock.profile.measuring.partial import Column, PartialResults, partial_folder
from penstock.profile.store import load_profile
from penstock.runtime.mps import multi_process_service
from penstock.runtime.settings import RuntimeSettings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_chain(tmp_path_factory.mktemp("model") / "chain.onnx")


QUICK = ("--device-class", "here", "--blocks", 2, "--max-batch", 2, "--seconds", 0.05)


def test_torch_on_a_cpu(model: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    result = invoke(model, *QUICK, "--executor", "torch", "--mode", "eager", "-o", tmp_path / "p")
    assert result.exit_code == 0, result.output
    profile = load_profile(tmp_path / "p")
    assert "torch" in profile.provenance.software
    machine = profile.provenance.machine
    assert machine is not None
    assert machine.executor == "torch"
    table = profile.table("here", 1)
    assert table.latency_us.shape == (2, 2)
    assert table.device_us is None  # nothing is copied
    assert not (tmp_path / "p.partial").exists()


def test_an_interrupted_run_is_gone_on_with(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shares 1 and 2; the run ends between them. The second one measures share 2 alone."""
    opened: list[int] = []

    class Opened(Copies):
        def __init__(self, share: int, threads: int) -> None:
            opened.append(share)
            if opened == [1, 2]:
                raise KeyboardInterrupt
            super().__init__(share, threads)

    def time_pieces(*arguments: object, **keywords: object) -> object:
        return original(*arguments, **{**keywords, "open_copies": Opened})  # type: ignore[arg-type]

    original = timing.time_pieces
    monkeypatch.setattr("penstock.profile.measuring.measure.time_pieces", time_pieces)
    out = tmp_path / "p"
    assert invoke(model, *QUICK, "--shares", "1,2", "-o", out).exit_code != 0
    assert not out.exists()
    assert (out.with_name("p.partial") / "share1-batch2.npz").exists()
    result = invoke(model, *QUICK, "--shares", "1,2", "-o", out)
    assert result.exit_code == 0, result.output
    assert "Going on with 2 batches" in result.stderr
    assert opened == [1, 2, 2]
    assert load_profile(out).shares_of("here") == (1, 2)
    assert not out.with_name("p.partial").exists()


def test_another_machine_does_not_go_on_with_what_was_begun(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a profile from one processor, driver or library and half from another would be of neither."""
    out = tmp_path / "p"
    task = Task(read_onnx(model), (0, 2, 4), "here", RuntimeSettings(), 2, (1,), 1, 0, False, out)
    column = Column((np.ones(2, np.int64),), np.zeros((1, 3), np.int64), np.zeros(2), "onnxruntime")
    PartialResults(partial_folder(out), task.question).keep(1, 1, column)
    assert task.is_begun()
    elsewhere = replace(
        machine_at_hand(RuntimeSettings()), device_name="another", libraries={"onnxruntime": "0.1"}
    )
    monkeypatch.setattr("penstock.api.measuring.machine_at_hand", lambda settings: elsewhere)
    later = replace(task)
    assert not later.is_begun()
    with pytest.raises(BadInputError, match=r"another measurement .device .*, not another, libraries"):
        PartialResults(partial_folder(out), later.question)


def test_another_question_does_not_mix_with_what_was_begun(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p"
    (tmp_path / "p.partial").mkdir()
    (tmp_path / "p.partial" / "question.json").write_text('{"seed": 1}')
    result = invoke(model, *QUICK, "-o", out)
    assert isinstance(result.exception, BadInputError)
    assert "another measurement" in str(result.exception)
    assert invoke(model, *QUICK, "--force", "-o", out).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--predict", "L4", "--executor", "torch"), "nothing is to be measured"),
        ((*QUICK, "--mode", "eager"), "--mode eager is torch's"),
        (
            (*QUICK, "--executor", "torch", "--provider", "CPUExecutionProvider"),
            "--provider .* is onnxruntime's",
        ),
        ((*QUICK, "--precision", "tf32"), "precision 'tf32' is for a GPU"),
        ((*QUICK, "--mps"), "--mps is for a GPU"),
        ((*QUICK, "--device", "tpu"), "must be 'cpu', 'cuda' or 'cuda:N'"),
    ],
)
def test_options_that_do_not_go_together(
    model: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    with pytest.raises(BadInputError, match=message):
        raise invoke(model, *arguments, "-o", tmp_path / "p").exception  # type: ignore[misc]


@pytest.mark.parametrize(
    ("runtime", "message"),
    [
        (("--executor", "torch", "--device", "cuda:99"), r"device 'cuda:99': torch .* sees|no device 99"),
        (
            ("--device", "cuda:99"),
            "onnxruntime has no provider TensorrtExecutionProvider or CUDA|no device 99",
        ),
    ],
)
def test_a_device_that_nothing_here_computes_on_is_bad_input(
    model: Path, tmp_path: Path, runtime: tuple[str, ...], message: str
) -> None:
    """Whoever finds it out, this process or one that measures."""
    if "torch" in runtime:
        pytest.importorskip("torch")
    with pytest.raises(BadInputError, match=message):
        raise invoke(model, *QUICK, *runtime, "-o", tmp_path / "p").exception  # type: ignore[misc]


def _stand_in(folder: Path, body: str) -> None:
    control = folder / "nvidia-cuda-mps-control"
    control.write_text(f"#!/bin/sh\n{body}\n")
    control.chmod(0o755)


def test_the_service_is_started_on_folders_of_its_own_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"
    _stand_in(tmp_path, f'echo "$CUDA_MPS_PIPE_DIRECTORY:$1:$(cat)" >> {log}')
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_MPS_PIPE_DIRECTORY", raising=False)
    with pytest.raises(RuntimeError, match="a measurement that fails"), multi_process_service():
        folder = os.environ["CUDA_MPS_PIPE_DIRECTORY"]
        raise RuntimeError("a measurement that fails")
    assert log.read_text() == f"{folder}:-d:\n{folder}::quit\n"
    assert "CUDA_MPS_PIPE_DIRECTORY" not in os.environ
    assert not Path(folder).exists()


def test_a_service_that_is_not_there_or_does_not_start_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInputError, match="is not on the PATH"), multi_process_service():
        pass
    _stand_in(tmp_path, "echo no device >&2; exit 3")
    with pytest.raises(BadInputError, match="-d: no device"), multi_process_service():
        pass
