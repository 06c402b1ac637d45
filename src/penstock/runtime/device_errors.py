"""What an error of a runtime says of its device: out of memory, or of no use to this process any more.

The runtimes have no common types for these, and onnxruntime only one for all, so texts decide.
"""

from __future__ import annotations

import re

_OUT_OF_MEMORY = re.compile(
    r"out of memory|OutOfMemory|Failed to allocate memory|smaller than requested bytes|STATUS_ALLOC_FAILED",
    re.IGNORECASE,
)
"""torch and CUDA; TensorRT; the two of onnxruntime's arena; cuBLAS and cuDNN."""

_POISONED = re.compile(
    r"CUDA (error|failure)|cudaError|CUDNN_STATUS_EXECUTION_FAILED|CUBLAS_STATUS_EXECUTION_FAILED"
    r"|TensorRT EP execution context enqueue failed",
    re.IGNORECASE,
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether the device's memory is too small for what was asked; later calls may succeed."""
    return _OUT_OF_MEMORY.search(_text(error)) is not None


def is_poisoned(error: BaseException) -> bool:
    """Whether ``error`` came from CUDA in a way that leaves the process unable to use its device any more.

    After such an error every later call fails too ("sticky" errors, CUDA Runtime API, section "Error Handling").
    TensorRT's provider does not say which error it was, so each counts.
    """
    return _POISONED.search(_text(error)) is not None and not is_out_of_memory(error)


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
