"""ONNX models for MLServer."""

import base64

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse, MetadataTensor, ResponseOutput


def opened(path):
    """A session with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options)


class Classifier(MLModel):
    """ResNet-18. The input travels as base64 in the protocol's JSON, which is faster there than numbers."""

    async def load(self) -> bool:
        self.session = opened(self.settings.parameters.uri)
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


class Numbers(MLModel):
    """Any model of FP32 tensors, as MLServer's own codec for numpy reads and writes them."""

    async def load(self) -> bool:
        self.session = opened(self.settings.parameters.uri)
        for nodes, add in (
            (self.session.get_inputs(), "inputs"),
            (self.session.get_outputs(), "outputs"),
        ):
            shapes = [[n if isinstance(n, int) else -1 for n in node.shape] for node in nodes]
            setattr(
                self,
                add,
                [
                    MetadataTensor(name=node.name, datatype="FP32", shape=shape)
                    for node, shape in zip(nodes, shapes, strict=True)
                ],
            )
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        arrays = {one.name: NumpyCodec.decode_input(one).astype(np.float32) for one in payload.inputs}
        names = [one.name for one in self.session.get_outputs()]
        outputs = [
            NumpyCodec.encode_output(name, array)
            for name, array in zip(names, self.session.run(names, arrays), strict=True)
        ]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
