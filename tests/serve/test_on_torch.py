"""Segments on torch, in turns: eager on a CPU, and as graphs on a device that is made up (torch's own CPU tensors)."""

# ruff: noqa: E402 - what is not installed skips the module

from __future__ import annotations

import gc
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")

from serve_cases import WIDTH, skip_profile, write_skip_model

from penstock.errors import BadInputError, DeviceLostError
from penstock.graph.reading.onnx_reader import read_onnx
from penstock.profile.build import boundaries_of as boundaries_between
from penstock.profile.segments.measure_cut import FEWEST_PAIRS, CutMeter
from penstock.profile.segments.segmented import Tensors
from penstock.runtime.settings import RuntimeSettings
from penstock.schedule.device import DevicePolicy, JobType
from penstock.serve.boundaries import boundaries_of
from penstock.serve.scheduled.answers import Answer, Ending
from penstock.serve.scheduled.device_models import write_segments
from penstock.serve.scheduled.device_spec import COPIES, check_shared_runtime, copies_of
from penstock.serve.scheduled.on_torch.eager_segments import EagerSegments, TensorsBetween
from penstock.serve.scheduled.on_torch.graph_segments import GraphSegments, JobOnCopy
from penstock.serve.scheduled.on_torch.load import split_on_torch, torch_segments
from penstock.serve.scheduled.on_torch.torch_segment import TorchSegment, TorchTensors
from penstock.serve.scheduled.stage_runners import OnDevice
from penstock.serve.scheduled.thread_driver import ThreadDriver
from penstock.serve.spec import TensorSpec

CPU = RuntimeSettings(kind="torch")
GRAPHS = RuntimeSettings(kind="torch", device="cuda:0")
BOUNDARIES = (0, 1, 2, 4)


class Skip:
    """The model of :mod:`serve_cases`, in which ``x`` skips two segments; and what onnxruntime says of it whole."""

    def __init__(self, folder: Path) -> None:
        path = write_skip_model(folder / "skip.onnx")
        self._session = onnxruntime.InferenceSession(path)
        cuts = boundaries_of(skip_profile(path))
        self.inputs: tuple[TensorSpec, ...] = cuts.inputs
        self.files, _, self.forwarded = write_segments(cuts, BOUNDARIES, folder, "skip")

    def wanted(self, x: np.ndarray) -> dict[str, np.ndarray]:
        names = ["sum", "double"]
        return dict(zip(names, self._session.run(names, {"x": x}), strict=True))

    def segments(self) -> list[TorchSegment]:
        pairs = zip(self.files, self.forwarded, strict=True)
        return [TorchSegment(file, passed, torch.device("cpu"), CPU) for file, passed in pairs]


@pytest.fixture(scope="module")
def skip(tmp_path_factory: pytest.TempPathFactory) -> Skip:
    return Skip(tmp_path_factory.mktemp("skip"))


def draw(seed: int, samples: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(samples, WIDTH)).astype(np.float32)


def same(made: Tensors, wanted: Mapping[str, np.ndarray]) -> None:
    assert made.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(made[name], array, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("samples", [1, 3])
def test_eager_segments_give_what_the_whole_model_gives(skip: Skip, samples: int) -> None:
    runner = torch_segments("skip", skip.files, skip.forwarded, skip.inputs, CPU, COPIES)
    assert isinstance(runner, EagerSegments)
    x = draw(samples, samples)
    first = runner.run(0, {"x": x})
    assert isinstance(first, TensorsBetween)
    assert set(first) == {"h", "x"}
    np.testing.assert_array_equal(first["x"], x)
    same(runner.run(2, runner.run(1, first)), skip.wanted(x))


def test_cuts_are_measured_with_what_serves_them(tmp_path: Path) -> None:
    """The meter's clock is a count of its readings: a run is two of them, so it takes one, cut or not."""
    path = write_skip_model(tmp_path / "skip.onnx")
    model = read_onnx(path)
    readings = itertools.count(0, 1000)
    split = lambda model, at, folder: split_on_torch(model, at, folder, CPU)  # noqa: E731
    boundaries = boundaries_between(skip_profile(path), len(model.graph.operators))
    with CutMeter(model, boundaries, seconds=0.01, split=split, clock_ns=lambda: next(readings)) as meter:
        assert meter(BOUNDARIES) == (1.0, 1.0)
    assert next(readings) >= 4000 * FEWEST_PAIRS


def test_a_type_that_torch_cannot_exchange_is_refused(skip: Skip) -> None:
    texts = (TensorSpec("x", "BYTES", (-1, WIDTH)),)
    with pytest.raises(BadInputError, match="'x' is BYTES, which the torch executor cannot exchange"):
        torch_segments("skip", skip.files, skip.forwarded, texts, CPU, 1)


class Replaying:
    """A device in CUDA's manner: a graph knows addresses only, so each launch reads and writes the same tensors."""

    highest_priority = -1

    def __init__(self) -> None:
        self.launches = 0
        self.fails_at = -1
        self.entered: Callable[[], None] = lambda: None

    def streams(self, count: int, priority: int = 0) -> Sequence[Any]:
        return [object() for _ in range(count)]

    def own_stream(self) -> Any:
        return threading.get_ident()

    def warm_up(self, segment: Any, tensor: Any) -> Any:
        return segment(tensor)

    def pool(self) -> None:
        return None

    def capture(self, segment: Any, tensors: TorchTensors, stream: Any, pool: Any) -> tuple[Any, Any]:
        # What passes through is the buffer itself, as in a capture; what is computed gets a buffer of its own.
        outputs = {
            name: one if any(one is given for given in tensors.values()) else one.clone()
            for name, one in segment(tensors).items()
        }

        def replay() -> None:
            for name, one in segment(tensors).items():
                outputs[name].copy_(one)

        return replay, outputs

    def launch(self, graph: Callable[[], None], stream: Any) -> None:
        self.launches += 1
        if self.launches == self.fails_at:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        self.entered()
        graph()

    def event(self) -> Any:
        return SimpleNamespace(query=lambda: True, synchronize=lambda: None)

    def mark(self, event: Any, stream: Any) -> None:
        pass

    def reference(self) -> None:
        return None

    def end_us(self, reference: Any, event: Any) -> float:
        return 0.0

    def wait(self) -> None:
        pass


class CpuCopies:
    """The host's side of :class:`Replaying`."""

    def new_input(self, shapes: Mapping[str, tuple[int, ...]]) -> TorchTensors:
        return {name: torch.zeros(shape) for name, shape in shapes.items()}

    def put(self, buffers: TorchTensors, arrays: Tensors, stream: Any) -> None:
        for name, buffer in buffers.items():
            buffer.copy_(torch.from_numpy(arrays[name]))

    def take(self, tensors: TorchTensors, stream: Any) -> Callable[[], Tensors]:
        made = {name: tensor.clone().numpy() for name, tensor in tensors.items()}
        return lambda: made


def graphed(skip: Skip, device: Replaying, copies: int) -> GraphSegments:
    segments = skip.segments()
    others = EagerSegments(segments, torch.device("cpu"), CPU)
    return GraphSegments(device, CpuCopies(), "skip", segments, {"x": (1, WIDTH)}, copies, others)


class TestGraphs:
    def test_jobs_that_take_turns_do_not_mix(self, skip: Skip) -> None:
        """Two jobs begin before either ends: each has buffers of its own. A third waits for a copy."""
        runner = graphed(skip, Replaying(), 2)
        begun = [runner.run(0, {"x": draw(seed)}) for seed in (1, 2)]
        assert all(isinstance(one, JobOnCopy) for one in begun)
        assert runner.free_copies == 0
        begun = [runner.run(1, one) for one in begun]
        for seed in (2, 1):
            same(runner.run(2, begun[seed - 1]), skip.wanted(draw(seed)))
        del begun
        gc.collect()
        assert runner.free_copies == 2

    def test_a_job_of_several_samples_runs_without_a_graph(self, skip: Skip) -> None:
        device = Replaying()
        runner = graphed(skip, device, 1)
        x = draw(5, 3)
        same(runner.run(2, runner.run(1, runner.run(0, {"x": x}))), skip.wanted(x))
        assert device.launches == 0

    def test_every_way_a_job_ends_gives_its_copy_back(self, skip: Skip) -> None:
        """Four threads, three copies, sixty jobs: some are cancelled while they run, one fails on the device."""
        device = Replaying()
        runner = graphed(skip, device, 3)
        device.fails_at = 40
        policy = DevicePolicy("srpt", "keep", 4, [JobType("skip", 3, copies=3, stage_us=(1.0, 1.0, 1.0))])
        answers: dict[int, Answer] = {}
        with ThreadDriver(policy, [runner], threads=4) as driver:
            for seed in range(60):
                job = driver.submit(0, {"x": draw(seed)}, lambda answer: answers.update({answer.job: answer}))
                if seed % 7 == 3:
                    driver.cancel(job)
            assert driver.wait_until_idle(30)
        assert len(answers) == 60
        endings = [answer.ending for answer in answers.values()]
        assert endings.count(Ending.FAILED) == 1
        for job, answer in answers.items():
            if answer.ending is Ending.DONE:
                assert answer.outputs is not None
                same(answer.outputs, skip.wanted(draw(job)))
        assert endings.count(Ending.DONE) >= 60 - 1 - 9
        gc.collect()
        assert runner.free_copies == 3

    def test_a_cancelled_job_is_given_up_between_two_segments(self, skip: Skip) -> None:
        """The first segment waits for the test: so the job is cancelled while it runs, and never gets to its second."""
        device = Replaying()
        runner = graphed(skip, device, 1)
        inside, goes_on = threading.Event(), threading.Event()

        def entered() -> None:
            inside.set()
            assert goes_on.wait(30)

        device.entered = entered
        policy = DevicePolicy("fifo", "keep", 1, [JobType("skip", 3, copies=1)])
        answers: list[Answer] = []
        with ThreadDriver(policy, [runner], threads=1) as driver:
            job = driver.submit(0, {"x": draw(1)}, answers.append)
            assert inside.wait(30)
            assert driver.cancel(job)
            goes_on.set()
            assert driver.wait_until_idle(30)
        assert [one.ending for one in answers] == [Ending.CANCELLED]
        assert device.launches == 1
        gc.collect()
        assert runner.free_copies == 1


class TestDevice:
    class Gone:
        uuid = "GPU-1"

        def __init__(self, why: str | None = None) -> None:
            self._why = why

        def why_lost(self) -> str | None:
            return self._why

    class Failing:
        n_segments = 1

        def __init__(self, text: str) -> None:
            self._text = text

        def run(self, segment: int, tensors: Tensors) -> Tensors:
            raise RuntimeError(self._text)

    @pytest.mark.parametrize(
        ("text", "why", "ends"),
        [
            ("CUDA error: an illegal memory access was encountered", None, True),
            ("bad input", "device GPU-1 is lost", True),
            ("CUDA error: out of memory", None, False),
            ("bad input", None, False),
        ],
    )
    def test_a_process_whose_device_is_of_no_use_ends(self, text: str, why: str | None, ends: bool) -> None:
        told: list[BaseException] = []
        runner = OnDevice(self.Failing(text), self.Gone(why), told.append)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError, match=text):
            runner.run(0, {})
        assert [type(one) for one in told] == ([DeviceLostError] if ends else [])


def test_what_no_gpu_can_run_by_turns_is_refused() -> None:
    onnx_on_gpu = RuntimeSettings(device="cuda:0")
    with pytest.raises(
        BadInputError, match=r"by torch only, not by onnxruntime on L4=cuda:0\. Add --executor L4=torch"
    ):
        check_shared_runtime("onnxruntime", onnx_on_gpu, 1, "L4=")
    with pytest.raises(BadInputError, match="33 segments at once: a GPU runs at most 32"):
        check_shared_runtime("torch", GRAPHS, 33, "")
    check_shared_runtime("torch", GRAPHS, 32, "")
    check_shared_runtime("emulated", onnx_on_gpu, 99, "L4=")
    check_shared_runtime("torch", CPU, 99, "")


def test_copies_are_for_the_window_on_a_gpu_and_many_elsewhere() -> None:
    assert [copies_of(GRAPHS, window) for window in (1, 8, 24)] == [4, 18, 32]
    assert copies_of(CPU, 1) == COPIES
    assert copies_of(RuntimeSettings(kind="torch", device="cuda:0", mode="eager"), 1) == COPIES
