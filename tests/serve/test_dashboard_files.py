"""The files of the live page: what is served, what binds the browser, and how the page reads ``/metrics``."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files

import pytest

from penstock.serve.dashboard.files import CONTENT_TYPES, HEADERS, dashboard_file
from penstock.serve.observe.catalogue import exported_names

STATIC = files("penstock.serve.dashboard").joinpath("static")


def test_the_page_and_its_files_are_there():
    page, content_type = dashboard_file("/dashboard")
    assert content_type.startswith("text/html")
    for kind, name in re.findall(rb'(src|href)="dashboard/([^"]+)"', page):
        assert dashboard_file(f"/dashboard/{name.decode()}") is not None, (kind, name)


@pytest.mark.parametrize(
    "path",
    ["/dashboard/", "/dashboard/../files.py", "/dashboard/static/dashboard.js", "/dashboards", "/", "/dashboard.html",
     "/dashboard/%2e%2e/files.py", "/dashboard//etc/passwd"],
)  # fmt: skip
def test_nothing_else_is_served(path):
    assert dashboard_file(path) is None


def test_nothing_is_inline_or_from_elsewhere():
    """The policy would block it, and the page would be without it."""
    page = dashboard_file("/dashboard")[0].decode()
    assert "style=" not in page
    assert not re.search(r"\son\w+=", page)
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    for name in CONTENT_TYPES:
        assert "http://" not in STATIC.joinpath(name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in STATIC.joinpath(name).read_text()
    assert "unsafe" not in HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in HEADERS["Content-Security-Policy"]


def test_every_metric_that_the_page_reads_is_exported():
    """``buckets`` adds the ending of a histogram."""
    text = STATIC.joinpath("dashboard.js").read_text() + STATIC.joinpath("metrics.js").read_text()
    read = set(re.findall(r'"(penstock_\w+)"', text))
    assert read
    exported = exported_names()
    assert {name for name in read if name not in exported and f"{name}_bucket" not in exported} == set()


CHECK = r"""
const m = require(process.argv[1]);
const page = (met, le1, le2, inf) => new m.Scrape(m.parseMetrics(
  '# HELP x y\n' +
  `penstock_requests_total{model="a\\"b",outcome="met"} ${met}\n` +
  'penstock_requests_total{model="a\\"b",outcome="late"} 5\n' +
  `h_bucket{le="0.1"} ${le1}\nh_bucket{le="0.2"} ${le2}\nh_bucket{le="+Inf"} ${inf}\n`), 0);
const before = page(10, 0, 0, 0), after = page(40, 10, 40, 40), anew = page(3, 0, 0, 0);
const counts = m.buckets(before, after, "h", {});
console.log(JSON.stringify({
  models: after.values("penstock_requests_total", "model"),
  found: m.outcomes(before, after),
  anew: m.growth(after, anew, "penstock_requests_total", {outcome: "met"}),
  counts: counts.map(({count}) => count),
  half: m.quantile(counts, 0.5),
  none: m.quantile(m.buckets(after, after, "h", {}), 0.5),
}));
"""


def test_figures_of_the_page_by_hand():
    """30 more met, none more late. Of 40 new results, 10 within 0.1 s and 30 within 0.2 s.

    The median is the 20th: 10 of the 30 into the second bucket, so 0.1 + 0.1 / 3.
    """
    node = shutil.which("node")
    if node is None:
        pytest.skip("no node here to run the page's code")
    path = str(STATIC.joinpath("metrics.js"))
    done = subprocess.run([node, "-e", CHECK, path], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["models"] == ['a"b']
    assert found["found"]["met"] == 30
    assert found["found"]["share"] == 1.0
    assert found["anew"] == 3
    assert found["counts"] == [10, 30, 0]
    assert found["half"] == pytest.approx(0.1 + 0.1 / 3)
    assert found["none"] is None
