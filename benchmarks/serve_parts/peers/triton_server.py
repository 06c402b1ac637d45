"""ResNet-18 behind Triton, of nvidia-pytriton's wheel: ``triton_server.py MODEL PORT``."""

import sys

import numpy as np
import onnxruntime
from pytriton.model_config import ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

MODEL, PORT = sys.argv[1], int(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(MODEL, options)
NAME = session.get_inputs()[0].name


def infer(requests):
    return [{"output": session.run(None, {NAME: request["input"]})[0]} for request in requests]


if __name__ == "__main__":
    config = TritonConfig(http_port=PORT, http_address="127.0.0.1", allow_grpc=False, allow_metrics=False)
    with Triton(config=config) as triton:
        triton.bind(
            model_name="resnet18",
            infer_func=infer,
            inputs=[Tensor(name="input", dtype=np.float32, shape=(-1, 3, 224, 224))],
            outputs=[Tensor(name="output", dtype=np.float32, shape=(-1, 1000))],
            config=ModelConfig(batching=False),
            strict=True,
        )
        triton.serve()
