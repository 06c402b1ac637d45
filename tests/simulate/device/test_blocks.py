"""The block model by hand: waves, queues whose head blocks, leftover placement, copies, a sender that waits."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from penstock.errors import BadInputError
from penstock.schedule.device import Need
from penstock.simulate.device.blocks import run_streams
from penstock.simulate.device.gpus import GPUS, Gpu, gpu_by_name
from penstock.simulate.device.kernel_profiles import (
    COPY_IN,
    COPY_OUT,
    Kernel,
    derive_kernels,
    read_kernels,
)

# Two SMs with room for 4 blocks of 256 threads each; launches and pauses cost nothing.
SMALL = Gpu("small", 2, 1024, 8, 65536, 64 * 1024, launch_us=0.0)
BLOCK = Need(1, 256)


def kernel(blocks: int, block_us: float = 10.0) -> Kernel:
    return Kernel(blocks, block_us, BLOCK)


def test_residents_are_the_tightest_limit_of_an_sm() -> None:
    assert SMALL.resident(Need(1)) == 16  # 8 block slots
    assert SMALL.resident(BLOCK) == 8  # 1024 / 256 threads
    assert SMALL.resident(Need(1, 256, 32768)) == 4  # 65536 / 32768 registers
    assert SMALL.resident(Need(1, 256, 0, 64 * 1024)) == 2
    with pytest.raises(BadInputError, match="does not fit"):
        SMALL.resident(Need(1, 2048))
    assert GPUS["T4"].resident(Need(1, 1024)) == 40
    assert GPUS["V100"].capacity() == Need(80 * 32, 80 * 2048, 80 * 65536, 80 * 96 * 1024)


@pytest.mark.parametrize(("blocks", "waves"), [(1, 1), (8, 1), (9, 2), (16, 2), (17, 3)])
def test_waves(blocks: int, waves: int) -> None:
    run = run_streams(SMALL, [[kernel(blocks)]], queues=1)
    assert run.job_end_us.tolist() == [10.0 * waves]
    assert kernel(blocks).alone_us(SMALL) == 10.0 * waves


def test_a_queue_whose_head_waits_holds_back_other_streams() -> None:
    # Job 0 is two kernels in a row, job 1 is one. One queue: job 1 starts only when job 0's second kernel has
    # started.
    jobs = [[kernel(1), kernel(1)], [kernel(1)]]
    assert run_streams(SMALL, jobs, queues=1).job_end_us.tolist() == [20, 20]
    assert run_streams(SMALL, jobs, queues=2).job_end_us.tolist() == [20, 10]


def test_one_stream_runs_one_kernel_at_a_time() -> None:
    jobs = [[kernel(1)], [kernel(1)], [kernel(1)]]
    assert run_streams(SMALL, jobs, queues=32, streams=1).job_end_us.tolist() == [10, 20, 30]
    assert run_streams(SMALL, jobs, queues=32).job_end_us.tolist() == [10, 10, 10]


def test_later_kernels_get_what_earlier_ones_leave() -> None:
    # 12 blocks: 8 in the first wave, 4 in the second. Beside the second wave, 4 places are left for the later
    # kernel's 6 blocks: 4 run from 10 to 20, the other 2 from 20 to 30. In the first wave it gets nothing.
    run = run_streams(SMALL, [[kernel(12)], [kernel(6)]], queues=2)
    assert run.start_us.tolist() == [0, 10]
    assert run.job_end_us.tolist() == [20, 30]


def test_a_narrow_kernel_runs_beside_a_long_one() -> None:
    run = run_streams(SMALL, [[kernel(7, 100.0)], [kernel(1)], [kernel(1)]], queues=3)
    assert run.job_end_us.tolist() == [100, 10, 20]


def test_copies_use_their_engines_and_not_the_sms() -> None:
    jobs = [[Kernel(1, 5.0, kind=COPY_IN), kernel(8), Kernel(1, 5.0, kind=COPY_OUT)] for _ in range(2)]
    run = run_streams(SMALL, jobs, queues=2)
    # In: 0-5 and 5-10; compute fills the device: 5-15 and 15-25; out: 15-20 and 25-30.
    assert run.end_us.tolist() == [5, 15, 20, 10, 25, 30]


def test_the_sender_waits_for_a_full_queue_and_for_arrivals() -> None:
    small = replace(SMALL, pending=2, launch_us=1.0)
    run = run_streams(small, [[kernel(1) for _ in range(4)]], queues=1)
    # Sent at 1 (starts at once, so it no longer waits), 2, 3; then two wait until the second starts at 11.
    assert run.sent_us.tolist() == [1, 2, 3, 11]
    run = run_streams(SMALL, [[kernel(1)], [kernel(1)]], queues=2, arrival_us=np.array([0.0, 50.0]))
    assert run.job_end_us.tolist() == [10, 60]


def test_a_queue_overlaps_the_last_kernel_of_a_job_with_the_first_of_the_next() -> None:
    # 8 kernels in a row cost 7 in a queue, as the next job starts beside the eighth: why 10,000 jobs take 47.8 s.
    run = run_streams(SMALL, [[kernel(1) for _ in range(8)] for _ in range(5)], queues=1)
    assert run.job_end_us.tolist() == [80, 150, 220, 290, 360]


def test_bad_input() -> None:
    for queues, jobs in ((0, [[kernel(1)]]), (33, [[kernel(1)]]), (1, []), (1, [[]])):
        with pytest.raises(BadInputError):
            run_streams(SMALL, jobs, queues=queues)
    with pytest.raises(BadInputError, match="T4, P100"):
        gpu_by_name("T5")
    with pytest.raises(BadInputError, match="blocks"):
        Kernel(0, 1.0)


def test_kernels_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "model.csv"
    file.write_text(
        "kind,blocks,threads,registers,shared_bytes,block_us\ncopy-in,1,0,0,0,4\ncompute,12,256,8192,0,2.5\n"
    )
    profile = read_kernels(file)
    assert profile.origin == "file"
    assert profile.kernels == (Kernel(1, 4.0, Need(1), COPY_IN), Kernel(12, 2.5, Need(1, 256, 8192)))
    assert profile.alone_us(SMALL) == 4 + 2 * 2.5
    for bad, says in (("kind\n", "columns"), (file.read_text().replace("compute", "run"), "line|kind")):
        file.write_text(bad)
        with pytest.raises(BadInputError, match=says):
            read_kernels(file)


def test_derived_kernels_take_the_predicted_time_alone(tmp_path: Path) -> None:
    from penstock.graph.reading.onnx_reader import read_onnx
    from penstock.profile.prediction.device_catalogue import device_spec
    from penstock.profile.prediction.efficiency import LAUNCH_US
    from penstock.profile.prediction.predict import predict_operators
    from penstock.zoo import build

    file = tmp_path / "squeezenet.onnx"
    file.write_bytes(build("squeezenet1_1", image_size=64).SerializeToString())
    graph = read_onnx(file).graph
    gpu = GPUS["T4"]
    profile = derive_kernels(graph, gpu)
    times = predict_operators(graph, device_spec("T4"))
    worked = times[times > LAUNCH_US] - LAUNCH_US
    compute = [one for one in profile.kernels if one.kind == 0]
    assert profile.origin == "derived"
    assert sum(one.alone_us(gpu) for one in compute) == pytest.approx(worked.sum())
