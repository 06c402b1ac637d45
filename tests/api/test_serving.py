"""A plan served from a Python program."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import ClassVar

import pytest

import penstock
from api.small_study import write_study
from penstock.errors import PenstockError

pytest.importorskip("zmq")


@pytest.fixture
def plan(tmp_path: Path) -> penstock.PlanResult:
    return penstock.Study.read(write_study(tmp_path)).plan()


class NoServer:
    """Takes the place of the process: what it was started with, and whether it may start."""

    started: ClassVar[list[NoServer]] = []
    fails = False

    def __init__(self, plan: Path, arguments: tuple[str, ...]) -> None:
        self.plan, self.arguments, self.url, self.notes = plan, arguments, "http://127.0.0.1:1", "ready"
        self.is_ended = False

    def __enter__(self) -> NoServer:
        NoServer.started.append(self)
        assert json.loads(self.plan.read_text())["version"] >= 1
        if self.fails:
            raise PenstockError("the server did not start: it said nothing")
        return self

    def __exit__(self, *error: object) -> None:
        self.is_ended = True


@pytest.fixture
def no_server(monkeypatch: pytest.MonkeyPatch) -> type[NoServer]:
    monkeypatch.setattr("penstock.serve.local_server.LocalServer", NoServer)
    monkeypatch.setattr(NoServer, "started", [])
    return NoServer


def test_the_plan_lies_in_a_folder_until_the_end(
    plan: penstock.PlanResult, no_server: type[NoServer]
) -> None:
    served = plan.serve("--executor", "emulated")
    assert (served.url, served.notes) == ("", "")
    with served as server:
        (started,) = no_server.started
        assert started.arguments == ("--executor", "emulated")
        assert (server.url, server.notes) == (started.url, "ready")
        assert started.plan.exists()
    assert started.is_ended
    assert not started.plan.parent.exists()
    assert served.url == ""


def test_a_server_that_does_not_start_leaves_no_folder(
    plan: penstock.PlanResult, no_server: type[NoServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(no_server, "fails", True)
    with pytest.raises(PenstockError, match="did not start"), plan.serve():
        pass
    assert not no_server.started[0].plan.parent.exists()


@pytest.mark.slow
def test_a_real_server_answers_between_entry_and_exit(plan: penstock.PlanResult) -> None:
    with plan.serve("--executor", "emulated") as server:
        url = server.url
        with urllib.request.urlopen(f"{url}/v2/models/detector/ready") as answer:
            assert answer.status == 200
        assert "ready" in server.notes
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/v2/health/live")
