"""The page of errors is what the code says, and the code sends no status that the page lacks."""

from __future__ import annotations

import re
import runpy

import pytest

from documentation.pages import DOCS, ROOT
from penstock.serve.protocol.errors import MEANING

SERVE = ROOT / "src" / "penstock" / "serve"


def test_the_errors_page_is_current():
    pytest.importorskip("grpc")
    script = runpy.run_path(str(DOCS / "write_errors.py"))
    assert (DOCS / "errors.md").read_text(encoding="utf-8") == script["page"](), (
        "run: python docs/write_errors.py"
    )


def test_every_status_that_is_sent_has_a_meaning():
    sent = {
        int(status)
        for path in SERVE.rglob("*.py")
        for status in re.findall(r"ProtocolError\(\s*(\d{3})", path.read_text(encoding="utf-8"))
    }
    assert 503 in sent
    assert sent - MEANING.keys() == set()
