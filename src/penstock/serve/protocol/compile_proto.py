"""Compile the ``.proto`` files of this folder: ``python -m penstock.serve.protocol.compile_proto`` (needs
grpcio-tools).

The result, descriptors in binary form, is kept in the repository; a test compiles again and compares. Descriptors
and not Python modules, for two reasons: generated modules ask for the release of protobuf that made them, and they
register their names in one pool of the process, where those of another client of the protocol (tritonclient) would
clash.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from penstock.errors import BadInputError, MissingExtraError

FOLDER = Path(__file__).parent
SOURCES = ("open_inference.proto", "grpc_health.proto")
COMPILED = FOLDER / "open_inference.binpb"


def compiled() -> bytes:
    """A serialised ``FileDescriptorSet`` of the sources; :class:`BadInputError` if they are wrong."""
    try:
        from grpc_tools import protoc
    except ImportError:
        raise MissingExtraError("compiling the protocol", "dev") from None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.binpb"
        status = protoc.main(["protoc", f"-I{FOLDER}", f"--descriptor_set_out={out}", *SOURCES])
        if status:
            raise BadInputError(f"protoc ended with status {status}: see what it wrote above.")
        return out.read_bytes()


if __name__ == "__main__":
    COMPILED.write_bytes(compiled())
