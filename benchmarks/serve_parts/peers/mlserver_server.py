"""MLServer with a class of :mod:`mlserver_model`: ``mlserver_server.py MODEL PORT [CLASS]``; gRPC on the next port."""

import json
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent

if __name__ == "__main__":
    folder = Path(tempfile.mkdtemp())
    kind = sys.argv[3] if len(sys.argv) > 3 else "Classifier"
    settings = {"host": "127.0.0.1", "http_port": int(sys.argv[2]), "parallel_workers": 0, "debug": False}
    settings |= {"grpc_port": int(sys.argv[2]) + 1, "metrics_endpoint": None}
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": Path(sys.argv[1]).stem,
        "implementation": f"mlserver_model.{kind}",
        "parameters": {"uri": sys.argv[1], "version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    os.environ["PYTHONPATH"] = str(HERE)
    os.execv(str(Path(sys.executable).parent / "mlserver"), ["mlserver", "start", str(folder)])
