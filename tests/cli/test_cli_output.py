"""What verbs print for people."""

from __future__ import annotations

import pytest

from penstock.cli.common.output import print_table


def test_what_rounds_to_zero_has_no_sign(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Worth", ["class", "worth"], [("a", "-0.0000"), ("b", "-0.0100"), ("c-0", "-")])
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-4:]]
    assert [row for row in rows if row] == [["a", "0.0000"], ["b", "-0.0100"], ["c-0", "-"]]
