"""A whole server with tensors in shared memory: right results, blocks used again, and nothing left by any death."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from serve_cases import WIDTH, bytes_profile, skip_profile, write_plan, write_skip_model
from test_serve_faults import role_of
from test_serve_live import ALLOWANCE, SLO_US, children_of, infer, is_alive, wait_until

from penstock.serve.local_server import LocalServer
from penstock.serve.switching import run_at
from penstock.serve.transport.shared.memory_file import NAME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="shared memory needs Linux"),
]

SAMPLE_BYTES = 600_000


def maps_of(pid):
    """How many memory files of senders ``pid`` has mapped, its own included."""
    return Path(f"/proc/{pid}/maps").read_text().count(f"/memfd:{NAME} ")


def memory_files(pid):
    """The numbers of the memory files that process ``pid`` has mapped."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {int(line.split()[4]) for line in lines if f"/memfd:{NAME} " in line}


def in_use():
    """The memory files that any process of this machine has mapped; other tests may run at the same time."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                found |= memory_files(folder.name)
            except OSError:  # it ended meanwhile, or is another user's
                continue
    return found


def named():
    """What has our name in the folder of named shared memory."""
    return sorted(one.name for one in Path("/dev/shm").iterdir() if NAME in one.name)


def by_role(server):
    roles = {}
    for pid in children_of(server.pid):
        roles.setdefault(role_of(pid), []).append(pid)
    return roles


def test_every_death_leaves_nothing(tmp_path):
    """Worker, gateway and dispatcher die one after the other, with batches in their memory before and after."""
    names, files = named(), set()
    profile = bytes_profile("sizes", (SAMPLE_BYTES, 500_000, 50_000), latency_us=1_000)
    plan = write_plan(tmp_path, profile, (0, 1, 2), batch=1, slo_us=30_000_000)
    x = np.ones((1, SAMPLE_BYTES), np.uint8)
    with LocalServer(plan, ["--executor", "emulated", "--transport", "shared-memory", *ALLOWANCE]) as server:
        for role in ("none", "worker", "gateway", "dispatcher"):
            roles = by_role(server)
            files |= {one for pid in children_of(server.pid) for one in memory_files(pid)}
            if role != "none":
                os.kill(roles[role][0], signal.SIGKILL)
                wait_until(lambda: not is_alive(roles[role][0]), 20)  # noqa: B023 - called at once
                wait_until(lambda: len(children_of(server.pid)) == 4, 60)
                wait_until(lambda: answers(server, x), 60)
            for _ in range(3):
                result = infer(server, "sizes", "input", x)
                assert result.as_numpy("output").shape == (1, 50_000)
            roles = by_role(server)
            # Its own file, and that of the last worker; the first worker has the gateway's, and so on in a circle.
            assert [maps_of(pid) for pid in (*roles["gateway"], *roles["worker"])] == [2, 2, 2]
            assert maps_of(roles["dispatcher"][0]) == 0
            assert maps_of(server.pid) == 0
        assert len(files) >= 3
        assert files & in_use()
        children = children_of(server.pid)
    assert not any(is_alive(pid) for pid in children)
    assert named() == names
    assert not files & in_use()


def answers(server, x):
    try:
        infer(server, "sizes", "input", x)
    except Exception:
        return False
    return True


@pytest.mark.parametrize("transport", ["shared-memory", "zeromq"])
def test_results_are_the_same_by_every_transport(tmp_path, transport):
    """Three stages; the middle one forwards two tensors. Requests of several samples share batches and are split."""
    import onnxruntime

    path = write_skip_model(tmp_path / "skip.onnx")
    plan = write_plan(tmp_path, skip_profile(path), (0, 1, 2, 4), slo_us=SLO_US * 5)
    session = onnxruntime.InferenceSession(path)
    with LocalServer(plan, [*ALLOWANCE, "--transport", transport]) as server:
        for samples in (1, 3, 9):
            x = np.random.default_rng(samples).normal(size=(samples, WIDTH)).astype(np.float32)
            result = infer(server, "skip", "x", x)
            for name, wanted in zip(("double", "sum"), session.run(["double", "sum"], {"x": x}), strict=True):
                np.testing.assert_allclose(result.as_numpy(name), wanted, rtol=1e-6, atol=1e-6)
        has_sockets = any(Path(run_at(server.url)).glob("*.bell"))
    assert has_sockets == (transport == "shared-memory")
