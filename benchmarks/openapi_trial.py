"""Try every call of the server's OpenAPI document with schemathesis: right ones, wrong ones, and what it can make
of them.

It fails at any answer of the server's fault but 503 and 504, at a status, content type or body that the document
does not name, and at a verb that should be refused and is not. The server is a real one, of a tiny model on
onnxruntime. schemathesis goes into a virtual environment of its own, in a temporary folder or in --environment.

    python benchmarks/openapi_trial.py [--examples 50] [--environment FOLDER]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "serve"))
from serve_cases import skip_profile, write_plan, write_skip_model

from penstock.serve.local_server import LocalServer

PACKAGE = "schemathesis>=4,<5"
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
# 503 and 504 are answers of a server that is sound; without this option schemathesis counts them as faults.
CONFIGURATION = """
[checks.not_a_server_error]
expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=50)
    parser.add_argument("--environment", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = (options.environment or folder / "environment").absolute()
        program = environment / "bin" / "schemathesis"
        if not program.exists():
            venv.create(environment, with_pip=True)
            subprocess.run([environment / "bin" / "pip", "install", "--quiet", PACKAGE], check=True)
        (folder / "schemathesis.toml").write_text(CONFIGURATION)
        plan = write_plan(
            folder, skip_profile(write_skip_model(folder / "skip.onnx")), (0, 2, 4), slo_us=500_000
        )
        with LocalServer(plan, ["--overhead-us", "60000"]) as server:
            command = [
                program,
                "--config-file",
                folder / "schemathesis.toml",
                "run",
                f"{server.url}/openapi.json",
            ]
            limits = [
                "--max-examples",
                str(options.examples),
                "--request-timeout",
                "30",
                "--checks",
                ",".join(CHECKS),
            ]
            status = subprocess.run(
                [*command, "--url", server.url, *limits], check=False, cwd=folder
            ).returncode
    sys.exit(status)


if __name__ == "__main__":
    main()
