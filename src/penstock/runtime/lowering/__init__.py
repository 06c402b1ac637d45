"""ONNX operators in torch, one family a module; :mod:`penstock.runtime.lowering.registry` is the table."""
