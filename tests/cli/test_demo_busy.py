"""On a busy machine `make demo` showed pools at 16% beside whole models at 85%, and no word of why."""

from __future__ import annotations

from types import SimpleNamespace

from penstock.cli.demo import busy


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
