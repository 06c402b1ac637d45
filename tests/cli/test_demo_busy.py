"""On a busy machine `make demo` showed pools at 16% beside whole models at 85%, and no word of why."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from penstock.cli.demo import busy, trial
from penstock.errors import PenstockError


def test_a_stage_that_ran_slower_than_profiled_is_named(monkeypatch):
    stages = [
        SimpleNamespace(label="stage 0", slower=1.25),
        SimpleNamespace(label="stage 1", slower=1.7),
        SimpleNamespace(label="stage 2", slower=None),
    ]
    monkeypatch.setattr(busy, "stage_promises", lambda served, plan: stages)
    trial = SimpleNamespace(label="pool pipelines", served=None, plan=None)
    assert list(busy.slowdowns([trial])) == [
        "this machine was busy: pool pipelines, stage 1 ran 1.7 x slower than profiled"
    ]


class RefusesAll:
    """In the place of a server, which would run for seconds: it answers nothing."""

    url = "http://127.0.0.1:1"

    def __init__(self, plan, options):
        """Nothing starts."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        """Nothing ends."""


@pytest.mark.parametrize("answered", [0, 2])
def test_requests_that_the_server_refused_have_no_row_in_its_record(monkeypatch, tmp_path, answered):
    """The demonstration took the last rows of the server's record, one for each request that the client had sent."""
    rows = SimpleNamespace(requests=SimpleNamespace(request=np.arange(answered)))
    plan = SimpleNamespace(models=[SimpleNamespace(rate_rps=10.0)])
    faked = {
        "LocalServer": RefusesAll,
        "load_record": lambda path: rows,
        "save_record": lambda record, path: None,
        "_plan": lambda *_: SimpleNamespace(plan=plan),
        "_calibrate": lambda *_: 0,
        "_load": lambda *_: None,
        "_simulate": lambda *_: None,
    }
    for name, fake in faked.items():
        monkeypatch.setattr(trial, name, fake)
    if answered:
        assert trial.run_trial("pools", "penstock", tmp_path / "scenario.yaml").served is rows
        return
    with pytest.raises(PenstockError, match="pools: the server refused every request"):
        trial.run_trial("pools", "penstock", tmp_path / "scenario.yaml")
