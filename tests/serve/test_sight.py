"""What ``penstock top`` says of two pages, by hand, and of a server."""

from __future__ import annotations

import json
import math
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from serve_cases import bytes_profile, write_plan

from penstock.cli.running import top
from penstock.errors import BadInputError
from penstock.plan.documents.store import load_plan
from penstock.record import Outcome
from penstock.serve.dispatcher.dispatcher_metrics import DispatcherMetrics
from penstock.serve.gateway.metrics import GatewayMetrics
from penstock.serve.messages import StageDone
from penstock.serve.observe.counter_file import read_counters
from penstock.serve.observe.exposition import metrics_page
from penstock.serve.observe.scrape import Page
from penstock.serve.observe.sight import quantile, sight
from penstock.serve.prepare import ServeOptions, prepare


class Server:
    """The counters of a server of one model and one pool of two workers, and its pages."""

    def __init__(self, folder):
        loaded = load_plan(write_plan(folder, bytes_profile("sizes", (24, 10)), (0, 1), workers=2))
        spec = prepare(loaded.plan, loaded.profiles, ServeOptions(executors={"": "emulated"}), folder)
        self.folder = folder
        self.gateway = GatewayMetrics(spec.models, folder)
        self.dispatcher = DispatcherMetrics(folder)
        self.dispatcher.add_plan(spec)
        self.dispatcher.worker_up(0)

    def answer(self, outcome, latency_us, count=1):
        from penstock.serve.gateway.ledger import Waiting

        for _ in range(count):
            request = Waiting(0, {}, 0, 1, 0, 50_000, lambda answer: None)
            request.outcome, request.dispatched_us = outcome, latency_us // 2
            self.gateway.models[0].settled(request, latency_us, 1)

    def run(self, busy_us):
        self.dispatcher.stage_done(StageDone(0, 0, 0, 0, 0, 1, 0, 0, busy_us, 0), None)

    def text(self):
        return metrics_page(read_counters(self.folder))[0].decode()

    def page(self):
        return Page(self.text())


def test_an_interval_is_the_difference_of_its_pages(tmp_path):
    server = Server(tmp_path)
    server.answer(Outcome.MET, 400, 1_000)  # before the interval: in no figure
    before = server.page()
    server.answer(Outcome.MET, 2_000, 90)
    server.answer(Outcome.DROPPED_DEADLINE, 9_000, 6)
    server.gateway.turned_away(0, 503)
    server.gateway.turned_away(0, 400)
    server.run(3_000_000)
    seen = sight(before, server.page(), 2.0)
    (model,) = seen.models
    assert (model.name, model.rate_rps, model.slo_s) == ("sizes", 49.0, 1.0)
    assert model.attainment == pytest.approx(90 / 97)  # the malformed one is not judged
    assert model.misses_rps == {"dropped:deadline": 3.0, "refused": 0.5, "malformed": 0.5}
    # All 90 lie in the bucket from 1 to 2.5 ms: half way is 1.75 ms.
    assert model.p50_s == pytest.approx(0.00175)
    assert model.p99_s == pytest.approx(0.001 + 0.99 * 0.0015)
    (pool,) = seen.pools
    # 3 s of the 4 s that two workers have in 2 s; one of them is not up.
    assert (pool.device_class, pool.workers, pool.up, pool.utilisation) == ("gpu", 2, 1, 0.75)


def test_a_server_that_was_started_again_counts_from_zero(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = Server(tmp_path / "old"), Server(tmp_path / "new")
    old.answer(Outcome.MET, 400, 100)
    new.answer(Outcome.MET, 2_000, 10)
    (model,) = sight(old.page(), new.page(), 1.0).models
    assert (model.rate_rps, model.attainment) == (10.0, 1.0)
    assert model.p50_s == pytest.approx(0.00175)


def test_nothing_has_no_quantile(tmp_path):
    server = Server(tmp_path)
    (model,) = sight(server.page(), server.page(), 1.0).models
    assert (model.attainment, model.p50_s, model.rate_rps, dict(model.misses_rps)) == (None, None, 0.0, {})
    assert quantile(0.5, {}) is None


@pytest.mark.parametrize(
    ("q", "wanted"),
    # As Prometheus: 4 values up to 1, 4 more up to 2, 2 beyond. The 5th is a quarter into the second bucket.
    [(0.2, 0.5), (0.4, 1.0), (0.5, 1.25), (0.8, 2.0), (0.99, 2.0)],
)
def test_a_quantile_is_interpolated(q, wanted):
    assert quantile(q, {1.0: 4, 2.0: 8, math.inf: 10}) == pytest.approx(wanted)


@given(st.lists(st.floats(0.0, 0.9), min_size=1, max_size=60), st.floats(0.01, 0.99))
def test_a_quantile_is_within_its_bucket(values, q):
    bounds = [0.1 * step for step in range(1, 10)] + [math.inf]
    found = quantile(q, {bound: sum(value <= bound for value in values) for bound in bounds})
    exact = sorted(values)[max(math.ceil(q * len(values)) - 1, 0)]
    upper = next(bound for bound in bounds if exact <= bound)
    assert upper - 0.1 - 1e-9 <= found <= upper + 1e-9


class Answers(BaseHTTPRequestHandler):
    """Each page once."""

    def do_GET(self):
        body = self.server.pages.pop(0).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


def ask(pages, *options):
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.pages = list(pages)
    thread = threading.Thread(target=lambda: [server.handle_request() for _ in pages], daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}"
    result = CliRunner().invoke(top.command, [url, "--interval", "0.1", "--once", *options])
    thread.join(10)
    server.server_close()
    return result


def test_top_prints_a_document_or_tables(tmp_path):
    server = Server(tmp_path)
    before = server.text()
    server.answer(Outcome.MET, 2_000, 9)
    server.answer(Outcome.LATE, 60_000)
    pages = (before, server.text())
    found = json.loads(ask(pages, "--json").stdout)
    (model,) = found["models"]
    assert (model["name"], model["attainment"]) == ("sizes", 0.9)
    assert found["pools"][0]["up"] == 1
    shown = ask(pages).stdout
    for words in ("sizes", "90.00%", "late", "gpu", "1/2"):
        assert words in shown


def test_top_says_what_is_wrong():
    for url, words in (("http://127.0.0.1:1", "Is the server up"), ("nonsense", "must begin with http")):
        result = CliRunner().invoke(top.command, [url, "--once"])
        assert isinstance(result.exception, BadInputError)
        assert words in str(result.exception)
    with pytest.raises(BadInputError, match="not in the text format"):
        Page("penstock_requests_total{ 1")
