"""``penstock conformance``: check what a server does of the Open Inference Protocol."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli.common.access_options import access_options
from penstock.cli.common.output import json_option, note, print_json
from penstock.errors import BadInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from penstock.serve.conformance.framework import Outcome
    from penstock.serve.load.access import Access


@click.command()
@click.argument("urls", metavar="URL...", nargs=-1, required=True)
@click.option("--model", help="The model to ask [default: the first that the server lists as ready].")
@access_options
@click.option("--only", multiple=True, metavar="FEATURE", help="Check these features only (repeatable).")
@json_option
@click.pass_context
def command(
    context: click.Context,
    urls: tuple[str, ...],
    model: str | None,
    token_file: Path | None,
    certificate: Path | None,
    only: tuple[str, ...],
    as_json: bool,
) -> None:
    """Check what the server at each URL (http://HOST:PORT, grpc://HOST:PORT, https, grpcs) does of the protocol.

    The checks ask for documents, run the model with small random inputs in every form, and send what a server must
    refuse. A check of an extension is skipped if the server does not advertise it. Any server of the protocol can be
    checked, not only Penstock. Nothing but requests is sent to it.

    The exit status is 1 if a check fails.

    \b
    Example:
      penstock conformance http://127.0.0.1:8000 grpc://127.0.0.1:8001
      penstock conformance http://triton:8000 --model resnet50 --json
    """
    from penstock.serve import require_extra, require_grpc

    require_extra("penstock conformance")
    from penstock.serve.load.access import Access

    access = Access.read(token_file, certificate)
    outcomes: list[tuple[str, list[Outcome]]] = []
    for url in urls:
        if url.startswith("grpc"):
            require_grpc("a URL of gRPC")
        outcomes.append((url, _checked(url, model, access, frozenset(only))))
    if as_json:
        print_json({"servers": [_document(url, results) for url, results in outcomes]})
    else:
        for url, results in outcomes:
            _print_table(url, results)
    if any(one.status == "fail" for _, results in outcomes for one in results):
        context.exit(1)


def _checked(url: str, model: str | None, access: Access, only: frozenset[str]) -> list[Outcome]:
    from penstock.serve.conformance.framework import run_checks

    if url.startswith("grpc"):
        from penstock.serve.conformance.grpc_checks import GRPC
        from penstock.serve.conformance.grpc_server_under_test import GrpcServerUnderTest

        server = GrpcServerUnderTest(url, access)
        try:
            server.choose_model(model)
            note(f"{url}: model {server.subject.name}")
            return run_checks(server, _chosen(GRPC.all, only))
        finally:
            server.close()
    from penstock.serve.conformance.http_checks import http_checks
    from penstock.serve.conformance.http_server_under_test import HttpServerUnderTest

    web = HttpServerUnderTest(url, access)
    web.choose_model(model)
    note(f"{url}: model {web.subject.name}")
    return run_checks(web, _chosen(http_checks(), only))


def _chosen(checks: Sequence[Any], only: frozenset[str]) -> list[Any]:
    features = {check.feature for check in checks}
    unknown = only - features
    if unknown:
        raise BadInputError(f"--only {sorted(unknown)[0]!r}: the features are {', '.join(sorted(features))}.")
    return [check for check in checks if not only or check.feature in only]


def _document(url: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    from penstock.serve.conformance.framework import summary

    return {
        "url": url,
        **summary(outcomes),
        "checks": [
            {
                "protocol": one.check.protocol,
                "feature": one.check.feature,
                "name": one.check.name,
                "status": one.status,
                "seen": one.seen,
            }
            for one in outcomes
        ],
    }


def _print_table(url: str, outcomes: Sequence[Outcome]) -> None:
    from rich.console import Console
    from rich.table import Table

    from penstock.serve.conformance.framework import summary

    table = Table(title=url, title_justify="left", box=None, pad_edge=False)
    for column in ("feature", "check", "result", "seen"):
        table.add_column(column, overflow="fold")
    for one in outcomes:
        table.add_row(one.check.feature, one.check.name, one.status, one.seen)
    wide = None if os.isatty(1) else 160
    console = Console(width=wide)
    console.print(table)
    counts = summary(outcomes)
    console.print(f"{counts['pass']} pass, {counts['fail']} fail, {counts['skip']} skipped.\n")
