"""ResNet-18 behind Ray Serve: ``ray_server.py MODEL PORT``. The input is the raw body."""

import sys
import time

import numpy as np
import onnxruntime
import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

MODEL, PORT = sys.argv[1], int(sys.argv[2])


@serve.deployment(num_replicas=1, max_ongoing_requests=32)
class Classifier:
    """The model."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.name = self.session.get_inputs()[0].name

    async def __call__(self, request: Request) -> Response:
        array = np.frombuffer(await request.body(), np.float32).reshape(1, 3, 224, 224)
        return Response(self.session.run(None, {self.name: array})[0].tobytes())


if __name__ == "__main__":
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    serve.start(http_options={"host": "127.0.0.1", "port": PORT})
    serve.run(Classifier.bind(MODEL), route_prefix="/")
    print("ready", flush=True)
    while True:
        time.sleep(1)
