"""What computes a sub-model on a device: onnxruntime or torch, the same for profiling and for serving.

Reading order: :mod:`penstock.runtime.settings` (what a user may choose), :mod:`penstock.runtime.runner` (the
protocol), :mod:`penstock.runtime.program` (an ONNX file in torch), :mod:`penstock.runtime.torch_runner`.
"""
