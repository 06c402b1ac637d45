"""Copies run at once, the runs that count, and the table made of them."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from penstock.errors import BadInputError, MissingExtraError, PenstockError
from penstock.profile.measuring import session as session_module
from penstock.profile.measuring._measure_worker import Reply, Step, timed_runs
from penstock.profile.measuring.copies import Copies, overlapping_ns
from penstock.profile.measuring.timing import ROUNDS, Effort, Piece, Timing, block_table, time_pieces

QUICK = Effort(seconds=0.02, warm_up_runs=1, min_runs=2)


def write_matmul(path: Path, width: int = 8) -> Path:
    weight = numpy_helper.from_array(np.eye(width, dtype=np.float32), "weight")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "weight"], ["y"])],
        "toy",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def write_inputs(path: Path, batch: int, width: int = 8) -> Path:
    np.savez(path, np.ones((batch, width), np.float32))
    return path


def reply(*runs: tuple[int, int]) -> Reply:
    return Reply(np.array([start for start, _ in runs]), np.array([end for _, end in runs]))


def test_only_runs_while_all_copies_run_count() -> None:
    # The copies overlap from 10 (when the second starts) to 40 (when the first ends).
    first = reply((0, 9), (9, 20), (20, 40))
    second = reply((10, 16), (16, 39), (39, 50))
    assert sorted(overlapping_ns([first, second])) == [6, 20, 23]
    assert sorted(overlapping_ns([first])) == [9, 11, 20]


def test_copies_of_a_share_truly_overlap(tmp_path: Path) -> None:
    model, inputs = write_matmul(tmp_path / "toy.onnx"), write_inputs(tmp_path / "batch1.npz", 1)
    with Copies(2) as copies:
        for _ in range(2):
            replies = copies.run(Step(model, inputs, seconds=0.2, warm_up_runs=1, min_runs=5))
            first_start = [int(one.start_ns[0]) for one in replies]
            last_end = [int(one.end_ns[-1]) for one in replies]
            assert max(first_start) < min(last_end)
            assert all(one.start_ns.size >= 5 for one in replies)
            assert overlapping_ns(replies).size >= 4
            for one in replies:
                assert (one.end_ns >= one.start_ns).all()
                assert (one.start_ns[1:] >= one.end_ns[:-1]).all()


def test_an_interrupted_copy_still_leaves_runs_that_all_copies_share() -> None:
    """Copy 0 is off the processor from the end of its second run until copy 1, which starts late, has enough.

    If copy 0 then stopped at once, its last run would have begun before copy 1's first run, which ended after it:
    no run would lie in the time that both share.
    """
    min_runs, wait_s = 2, 30.0
    in_second_run, first_run_of_late, has_run, late_has_enough = (threading.Event() for _ in range(4))

    class Counter:
        """Both copies' counter; the lock holds copy 0 up until copy 1 has enough."""

        value = 0

        @contextmanager
        def get_lock(self) -> Iterator[None]:
            if threading.current_thread().name == "copy 0":
                has_run.set()
                assert late_has_enough.wait(wait_s)
            yield
            if threading.current_thread().name == "copy 1":
                late_has_enough.set()

    class Early:
        count = 0

        def run(self) -> None:
            self.count += 1
            if self.count == min_runs:
                in_second_run.set()
                assert first_run_of_late.wait(wait_s)

    class Late:
        count = 0

        def run(self) -> None:
            self.count += 1
            if self.count == 1:
                first_run_of_late.set()
                assert has_run.wait(wait_s)

    step = Step(Path("toy.onnx"), Path("batch1.npz"), seconds=0.0, warm_up_runs=0, min_runs=min_runs)
    counter, replies = Counter(), {}

    def copy(number: int, bound: Early | Late) -> None:
        if number == 1:
            assert in_second_run.wait(wait_s)
        replies[number] = timed_runs(bound, step, counter, 2, 2)

    threads = [
        threading.Thread(target=copy, args=(number, bound), name=f"copy {number}")
        for number, bound in enumerate((Early(), Late()))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * wait_s)
    assert overlapping_ns([replies[0], replies[1]]).size >= min_runs


def test_a_copy_alone_runs_no_more_than_asked() -> None:
    step = Step(Path("toy.onnx"), Path("batch1.npz"), seconds=0.0, warm_up_runs=0, min_runs=3)

    class Counter:
        value = 0

        def get_lock(self) -> AbstractContextManager[None]:
            return nullcontext()

    class Bound:
        def run(self) -> None: ...

    assert timed_runs(Bound(), step, Counter(), 1, 1).start_ns.size == 3


def test_no_run_in_common_is_an_error_that_says_so() -> None:
    with pytest.raises(BadInputError, match="none of 3 runs lay in the time in which all 2 copies ran"):
        overlapping_ns([reply((0, 10), (10, 20)), reply((15, 25))])


def test_a_piece_that_fails_is_named_and_no_process_is_left(tmp_path: Path) -> None:
    model, wrong = write_matmul(tmp_path / "toy.onnx"), write_inputs(tmp_path / "batch1.npz", 1, width=7)
    with Copies(2) as copies, pytest.raises(PenstockError, match="toy failed on batch1"):
        copies.run(Step(model, wrong, 0.0, 0, 2))
    assert not any(process.is_alive() for process in copies._processes)


def test_a_process_that_dies_is_an_error_not_a_wait(tmp_path: Path) -> None:
    model, inputs = write_matmul(tmp_path / "toy.onnx"), write_inputs(tmp_path / "batch1.npz", 1)

    def run_without_the_first() -> None:
        with Copies(2) as copies:
            copies._processes[0].kill()
            copies.run(Step(model, inputs, 0.0, 0, 2))

    with pytest.raises(PenstockError, match=r"process ended \(exit code -9"):
        run_without_the_first()


def test_every_piece_batch_and_share_is_timed(tmp_path: Path) -> None:
    inputs = tuple(write_inputs(tmp_path / f"batch{batch}.npz", batch) for batch in (1, 2))
    pieces = [Piece(name, write_matmul(tmp_path / f"{name}.onnx"), inputs) for name in ("a", "whole")]
    seen = []
    timings = time_pieces(pieces, (1, 2), effort=QUICK, progress=lambda *step: seen.append(step))
    assert timings.keys() == {1, 2}
    for timing in timings.values():
        assert timing.median_us.shape == (2, 2)
        assert (timing.median_us > 0).all()
        assert (timing.p99_us >= timing.median_us).all()
        # Only the copy that starts last is sure to have its runs inside the common interval: another may
        # be off the processor for all of it.
        assert (timing.runs >= ROUNDS * QUICK.min_runs).all()
    assert seen[0] == (1, 24, "a, batch 1, share 1")
    assert seen[-1] == (24, 24, "whole, batch 2, share 2")


def test_blocks_are_scaled_to_the_whole_model() -> None:
    # Blocks sum to 40 and 80; the whole takes 20 (factor 1/2) and 88 (factor 1.1).
    median = np.array([[10.0, 20.0], [30.0, 60.0], [20.0, 88.0]])
    timing = Timing(median, median * 2, np.full((3, 2), 7))
    table, factors = block_table(timing)
    np.testing.assert_allclose(factors, [0.5, 1.1])
    np.testing.assert_array_equal(table.latency_us, [[5, 22], [15, 66]])
    assert table.p99_us is not None
    np.testing.assert_array_equal(table.p99_us, [[10, 44], [30, 132]])
    assert table.runs == 7


def test_rounding_does_not_add_up() -> None:
    # Ten blocks of 0.4 us are 4 us together, though each alone rounds to 0.
    median = np.vstack([np.full((10, 1), 0.4), [[4.0]]])
    table, _ = block_table(Timing(median, median, np.ones((11, 1), np.int64)))
    assert table.latency_us.sum() == 4


def test_effort_is_checked() -> None:
    for broken in ({"seconds": 0.0}, {"warm_up_runs": -1}, {"min_runs": 1}):
        with pytest.raises(BadInputError, match="effort"):
            Effort(**broken)


def test_without_onnxruntime_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"penstock-serving\[serve\]"):
        session_module.open_session(tmp_path / "toy.onnx")


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "toy.onnx").write_bytes(b"not a model")
    with pytest.raises(BadInputError, match=r"toy\.onnx: onnxruntime cannot load it"):
        session_module.open_session(tmp_path / "toy.onnx")
