"""From an ONNX file to a graph: loading, checking, shapes, and a normal form for all files."""
