"""An ONNX model behind Triton, of nvidia-pytriton's wheel: ``triton_server.py MODEL PORT``; gRPC has the port after.

Triton's own program is started, with its Python backend, which calls onnxruntime: the wheel has no other backend, and
pytriton itself, which would do the same from a process of its own, does not run with every gevent.
"""

import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import onnxruntime

TYPES = {"tensor(float)": "TYPE_FP32", "tensor(int64)": "TYPE_INT64", "tensor(uint8)": "TYPE_UINT8"}

MODEL = """
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, args):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession({path!r}, options)
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]

    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        given = {{name: triton.get_input_tensor_by_name(request, name).as_numpy() for name in self.inputs}}
        arrays = self.session.run(self.outputs, given)
        named = zip(self.outputs, arrays)
        return triton.InferenceResponse([triton.Tensor(name, array) for name, array in named])
"""


def tensors(kind, nodes):
    """Lines of the configuration for the inputs or the outputs."""
    entries = [
        f'{{ name: "{one.name}" data_type: {TYPES[one.type]} '
        f"dims: [ {', '.join(str(n) if isinstance(n, int) else '-1' for n in one.shape)} ] }}"
        for one in nodes
    ]
    return f"{kind} [ {', '.join(entries)} ]"


def write_repository(path, folder):
    """A repository with the one model of ``path``."""
    session = onnxruntime.InferenceSession(path)
    inside = folder / path.stem
    (inside / "1").mkdir(parents=True)
    lines = [
        f'name: "{path.stem}"',
        'backend: "python"',
        "max_batch_size: 0",
        tensors("input", session.get_inputs()),
        tensors("output", session.get_outputs()),
    ]
    (inside / "config.pbtxt").write_text("\n".join(lines) + "\n")
    (inside / "1" / "model.py").write_text(MODEL.format(path=str(path)))


def main():
    path, port = Path(sys.argv[1]).absolute(), int(sys.argv[2])
    package = Path(importlib.util.find_spec("pytriton").origin).parent
    server, site = package / "tritonserver", package.parent
    folder = Path(tempfile.mkdtemp(prefix="triton-"))
    write_repository(path, folder / "models")
    backend = shutil.copytree(server / "backends" / "python", folder / "backends" / "python")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(server / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    program = shutil.copy(server / "bin" / "tritonserver", folder)
    for one in (Path(program), *backend.iterdir()):
        one.chmod(0o755)
    environment = {
        **os.environ,
        "LD_LIBRARY_PATH": str(site / "nvidia_pytriton.libs"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(site),
    }
    options = {
        "model-repository": folder / "models",
        "backend-directory": folder / "backends",
        "http-address": "127.0.0.1",
        "http-port": port,
        "grpc-address": "127.0.0.1",
        "grpc-port": port + 1,
        "allow-metrics": "false",
    }
    arguments = [str(text) for name, value in options.items() for text in (f"--{name}", value)]
    os.execve(program, [program, *arguments], environment)


if __name__ == "__main__":
    main()
