"""ResNet-18 behind LitServe: ``litserve_server.py MODEL PORT``. The input travels as base64 in JSON."""

import base64
import sys

import litserve
import numpy as np
import onnxruntime


class Classifier(litserve.LitAPI):
    """The model."""

    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[1], options)
        self.name = self.session.get_inputs()[0].name

    def decode_request(self, request):
        return np.frombuffer(base64.b64decode(request["data"]), np.float32).reshape(1, 3, 224, 224)

    def predict(self, array):
        return self.session.run(None, {self.name: array})[0]

    def encode_response(self, output):
        return {"output": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=1)
    server.run(port=int(sys.argv[2]), host="127.0.0.1", generate_client_file=False, log_level="warning")
