"""Stepping a load factor down."""

from __future__ import annotations

import pytest

from penstock.errors import BadInputError
from penstock.simulate.judge.load_search import step_down


def test_the_first_load_from_above_that_holds():
    asked = []
    assert step_down(lambda load: asked.append(load) or (0.995 if load <= 0.85 else 0.9)) == 0.85
    assert asked == [1.0, 0.95, 0.9, 0.85]


def test_none_holds():
    asked = []
    assert step_down(lambda load: asked.append(load) or 0.0) == 0.0
    assert len(asked) == 20
    assert asked[-1] == 0.05


@pytest.mark.parametrize("bad", [{"start": 0.0}, {"step": 0.0}, {"target": 1.1}])
def test_bad_input(bad):
    with pytest.raises(BadInputError, match="step"):
        step_down(lambda _: 1.0, **bad)
