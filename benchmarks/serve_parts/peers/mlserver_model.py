"""ResNet-18 for MLServer. The input travels as base64 in the protocol's JSON, which is faster there than numbers."""

import base64

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Classifier(MLModel):
    """The model."""

    async def load(self) -> bool:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(self.settings.parameters.uri, options)
        self.input = self.session.get_inputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        data = payload.inputs[0].data
        text = data[0] if isinstance(data, list) or hasattr(data, "__getitem__") else data.root[0]
        array = np.frombuffer(base64.b64decode(text), np.float32).reshape(1, 3, 224, 224)
        output = self.session.run(None, {self.input: array})[0]
        return InferenceResponse(
            model_name=self.name,
            outputs=[
                ResponseOutput(name="output", shape=[1, 1000], datatype="FP32", data=output.ravel().tolist())
            ],
        )
