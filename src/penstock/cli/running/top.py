"""``penstock top``: a running server in the terminal."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.access_options import access_options
from penstock.cli.common.numbers import FiniteRange
from penstock.cli.common.output import json_option, print_json, print_table

if TYPE_CHECKING:
    from penstock.serve.load.access import Access
    from penstock.serve.observe.scrape import Page
    from penstock.serve.observe.sight import Sight

TIMEOUT_S = 5.0
CLEAR = "\x1b[H\x1b[2J\x1b[3J"
"""To the upper left corner, and empty the screen with what has left it."""


@click.command()
@click.argument("url")
@click.option(
    "--interval",
    type=FiniteRange(min=0.1, max=3600),
    default=2.0,
    show_default=True,
    help="Seconds between two looks.",
)
@click.option("--once", is_flag=True, help="Show the first interval and end.")
@access_options
@json_option
def command(
    url: str, interval: float, once: bool, token_file: Path | None, certificate: Path | None, as_json: bool
) -> None:
    """Show what the server at URL does: requests, attainment, latencies, causes of misses, pools, processes.

    The figures are those of the last interval, from the server's /metrics. With --json there is one document for one
    interval. Ctrl-C ends it.

    \b
    Example:
      penstock top http://127.0.0.1:8000
      penstock top http://127.0.0.1:8000 --once --json
      penstock top https://host:8443 --token-file token --certificate chain.pem
    """
    from penstock.serve import require_extra

    require_extra("penstock top")
    from penstock.serve.load.access import Access

    access = Access.read(token_file, certificate)
    if as_json:
        print_json(document(next(looks(url, interval, access))))
        return
    for seen in looks(url, interval, access):
        if not once:
            click.echo(CLEAR, nl=False)
        show(url, seen)
        if once:
            return


def looks(url: str, interval_s: float, access: Access) -> Iterator[Sight]:
    """What happened in each interval, without end. Raises :class:`BadInputError` if the server does not answer."""
    from penstock.serve.observe.sight import sight

    before, before_s = fetch(url, access), time.monotonic()
    while True:
        time.sleep(interval_s)
        after, after_s = fetch(url, access), time.monotonic()
        yield sight(before, after, after_s - before_s)
        before, before_s = after, after_s


def fetch(url: str, access: Access) -> Page:
    """The page of the server at ``url``."""
    from urllib.error import URLError
    from urllib.request import Request, urlopen

    from penstock.errors import BadInputError
    from penstock.serve.observe.scrape import Page

    address = url.rstrip("/").removesuffix("/metrics") + "/metrics"
    if not address.startswith(("http://", "https://")):
        raise BadInputError(f"URL {url!r} must begin with http:// or https://.")
    request = Request(address, headers={"Accept": "text/plain", **access.headers})
    tls = access.tls() if address.startswith("https://") else None
    try:
        with urlopen(request, timeout=TIMEOUT_S, context=tls) as answer:
            return Page(answer.read().decode())
    except (URLError, OSError, ValueError) as error:
        raise BadInputError(f"{address}: {error}. Is the server up, and its URL right?") from None


def document(seen: Sight) -> dict[str, Any]:
    """The figures as JSON."""
    from dataclasses import asdict

    return asdict(seen)


def show(url: str, seen: Sight) -> None:
    """The figures as tables."""
    click.echo(f"{url}   {seen.in_flight} samples in flight   over {seen.seconds:.1f} s")
    print_table(
        "Models",
        [
            "model",
            "requests/s",
            "planned/s",
            "attainment",
            "p50 ms",
            "p99 ms",
            "SLO ms",
            "queue p99 ms",
            "misses/s",
        ],
        [
            [
                one.name,
                f"{one.rate_rps:.1f}",
                f"{one.planned_rps:.1f}",
                "-" if one.attainment is None else f"{one.attainment:.2%}",
                *map(_ms, (one.p50_s, one.p99_s, one.slo_s, one.queue_p99_s)),
                ", ".join(f"{rate:.1f} {cause}" for cause, rate in one.misses_rps.items()) or "-",
            ]
            for one in seen.models
        ],
    )
    pools = [
        [one.pool, one.device_class, f"1/{one.share}", f"{one.up}/{one.workers}", f"{one.utilisation:.1%}"]
        for one in seen.pools
    ]
    _show_some("Pools", ["pool", "device class", "share", "workers up", "busy"], pools)
    processes = [[one.name, f"{one.cores:.2f}", f"{one.memory_bytes / 2**20:.0f}"] for one in seen.processes]
    _show_some("Processes", ["process", "cores", "most MiB"], processes)


def _show_some(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    if rows:
        print_table(title, columns, rows)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.2f}"
