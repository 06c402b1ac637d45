"""The live page in a real browser, beside a real server of emulated devices.

It needs Playwright and a Chromium: ``pip install playwright axe-playwright-python``, and a ``chromium`` on the path.
"""

from __future__ import annotations

import os
import shutil
import signal
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as triton
from serve_cases import bytes_profile, write_plan

from penstock.serve.local_server import LocalServer
from penstock.serve.observe.scrape import Page

sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed"
)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    plan = write_plan(
        tmp_path_factory.mktemp("live"),
        bytes_profile("sizes", (24, 96, 8)),
        (0, 1, 2),
        workers=2,
        slo_us=2_000_000,
    )
    with LocalServer(plan, ["--executor", "emulated", "--overhead-us", "60000"]) as server:
        yield server


@pytest.fixture
def open_page(server):
    """Opens the page at a width and scheme; fails if the browser's console has an error."""
    problems: list[str] = []
    with sync_api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

        def opened(width=1440, scheme="light"):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
            page = context.new_page()
            page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(f"{server.url}/dashboard")
            page.wait_for_selector("#models tr", timeout=20_000)
            return page

        yield opened
        browser.close()
    assert problems == []


def infer(server, times):
    client = triton.InferenceServerClient(server.url.removeprefix("http://"))
    tensor = triton.InferInput("input", (1, 24), "UINT8")
    tensor.set_data_from_numpy(np.ones((1, 24), np.uint8))
    for _ in range(times):
        client.infer("sizes", [tensor])
    client.close()


def metrics(server):
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=20) as answer:
        return Page(answer.read().decode())


def test_the_page_shows_what_metrics_say(server, open_page):
    infer(server, 3)
    page = open_page()
    found = metrics(server)
    row = page.locator("#models tr").first.inner_text().split("\t")
    assert row[0] == "sizes"
    planned = found.total("penstock_model_planned_requests_per_second", model="sizes")
    assert float(row[3]) == pytest.approx(planned, abs=0.05)
    assert row[6] == "2000 ms"
    pools = [row.split("\t") for row in page.locator("#pools tr").all_inner_texts()]
    assert [(pool[0], pool[3]) for pool in pools] == [("0", "2 of 2"), ("1", "2 of 2")]


@pytest.mark.parametrize("width", [375, 1440])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits(open_page, width, scheme):
    page = open_page(width, scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.wait_for_selector("#slack svg text", timeout=20_000)
    cut = "[...document.querySelectorAll('svg text')].filter(t => t.getBBox().x < 0).map(t => t.textContent)"
    assert page.evaluate(cut) == []
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["impact"]) for one in found if one["impact"] in ("serious", "critical")] == []


def test_a_worker_that_is_killed_shows_as_an_event(server, open_page):
    page = open_page()
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text()
    worker = int(children.split()[2])
    os.kill(worker, signal.SIGKILL)
    # The worker is restarted within a second or two; the event stays. The page's own policy forbids to evaluate code.
    sync_api.expect(page.locator("#events")).to_contain_text("lost 1 of 2 workers", timeout=20_000)
    sync_api.expect(page.locator("#pools tr").first).to_contain_text("2 of 2", timeout=30_000)
