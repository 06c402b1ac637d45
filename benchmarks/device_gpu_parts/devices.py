"""The device that the benchmark runs on: the GPU, or threads in its place."""

from __future__ import annotations

import torch

from device_gpu_parts.stand_in import ThreadStreams
from penstock.serve.scheduled.cuda import CudaStreams


def open_device(cpu: bool) -> CudaStreams | ThreadStreams:
    """With TF32 off, so that fp32 means fp32.

    cuDNN chooses its algorithms by its own heuristics, not by trial: so they are the same in every process, also in
    those that load while others do.
    """
    if cpu:
        return ThreadStreams()
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False
    return CudaStreams()
