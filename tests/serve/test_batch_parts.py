"""A batch gathered from several requests arrives in parts: they are joined if the executor wants them so."""

from __future__ import annotations

import numpy as np
import pytest

zmq = pytest.importorskip("zmq")

from penstock.serve.messages import BatchHeader, Share, TensorHeader  # noqa: E402 - the serve extra is needed
from penstock.serve.transport import Place, read_tensors  # noqa: E402


def _read(parts: tuple[int, ...], place: Place) -> np.ndarray:
    rows = np.arange(2 * sum(parts), dtype=np.float32).reshape(-1, 2)
    pieces = np.split(rows, np.cumsum(parts)[:-1])
    header = BatchHeader(
        epoch=0,
        batch=0,
        pipeline=0,
        route=(),
        stage=0,
        shares=(Share(0, sum(parts), ""),),
        gateway=0,
        size=sum(parts),
        sent_us=0,
        compute_us=0,
        parts=parts,
        tensors=(TensorHeader("x", "FP32", rows.shape),),
    )
    (tensor,) = read_tensors(header, [memoryview(piece.tobytes()) for piece in pieces], place)
    assert np.array_equal(tensor.array, rows)
    return tensor.array


def test_parts_are_joined_in_the_place_that_is_given():
    there = np.zeros((3, 2), np.float32)
    assert _read((1, 2), lambda name, size: there if (name, size) == ("x", 3) else None) is there


@pytest.mark.parametrize("there", [np.zeros((2, 2), np.float32), np.zeros((3, 2), np.float64), None])
def test_a_place_that_does_not_fit_is_not_used(there):
    assert _read((2, 1), lambda name, size: there) is not there


def test_a_single_part_is_not_copied():
    there = np.zeros((3, 2), np.float32)
    array = _read((3,), lambda name, size: there)
    assert array is not there
    assert not array.flags.owndata


def test_pinned_memory_is_known_by_its_address():
    torch = pytest.importorskip("torch")
    from penstock.runtime.torch_runner import _is_at

    pinned = torch.zeros(4, 3)
    assert _is_at(pinned[:2].numpy(), pinned[:2])
    assert not _is_at(pinned[1:3].numpy(), pinned[:2])
    assert not _is_at(np.zeros((2, 3), np.float32), pinned[:2])


def test_received_memory_is_given_to_torch_without_a_copy_or_a_warning(recwarn):
    torch = pytest.importorskip("torch")
    from penstock.runtime.torch_runner import _writable_view

    received = np.frombuffer(np.arange(6, dtype=np.float32).tobytes(), np.float32).reshape(2, 3)
    assert not received.flags.writeable
    tensor = torch.from_numpy(_writable_view(received))
    address = received.ctypes.data
    del received
    assert tensor.data_ptr() == address
    assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert not recwarn.list


def test_the_cpu_reads_received_memory_in_place():
    pytest.importorskip("torch")
    from penstock.runtime.torch_runner import as_tensor

    received = np.frombuffer(np.arange(6, dtype=np.float32).tobytes(), np.float32).reshape(2, 3)
    tensor = as_tensor(received)
    assert tensor.data_ptr() == received.ctypes.data
    assert np.array_equal(as_tensor(received.T).numpy(), received.T)
    assert as_tensor(np.float32(3)).shape == ()
