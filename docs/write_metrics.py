"""Write ``docs/metrics.md`` from the catalogue of metrics; a test holds it current."""

from __future__ import annotations

from pathlib import Path

from penstock.record import Outcome
from penstock.serve.observe.catalogue import (
    CLIENT_OUTCOMES,
    DISPATCHER,
    GATEWAY,
    PROCESS,
    SUPERVISOR,
    Ending,
    Family,
)

PAGE = Path(__file__).parent / "metrics.md"
HEAD = f"""# Metrics

Written by `docs/write_metrics.py` from `serve/observe/catalogue.py`.

`penstock serve` answers `GET /metrics` in the text format of Prometheus, or as OpenMetrics if the scraper asks for
it. Any gateway answers for the whole server: every process counts in a file of its own in the run folder, and the
gateway adds up the files. What a dead process has counted is kept. How to look at them: [](grafana.md).

An **attainment** is not exported, because ratios cannot be added up. It is

    sum(rate(penstock_requests_total{{outcome="met"}}[1m]))
      / sum(rate(penstock_requests_total{{outcome!~"{CLIENT_OUTCOMES}"}}[1m]))

that is, the share of the requests that the server should have answered in time. A **utilisation** is
`rate(penstock_pool_busy_seconds_total[1m]) / penstock_pool_workers`.
"""
SECTIONS = (
    ("Requests, counted by the gateways", GATEWAY),
    ("Stages and pools, counted by the dispatcher", DISPATCHER),
    ("Links between hosts, measured by the supervisor", SUPERVISOR),
    ("Processes", PROCESS),
)
MEANING = {
    Outcome.MET.text: "a result in time",
    Outcome.LATE.text: "a result, but late",
    Outcome.DROPPED_EARLY.text: "dropped while queued, though its deadline was still possible",
    Outcome.DROPPED_DEADLINE.text: "dropped, because its deadline could no longer be met",
    Outcome.ERROR.text: "its worker failed, or the server did",
    Outcome.CANCELLED.text: "the client went away before the deadline, and before a result",
    Ending.REFUSED.value: "not queued: the server is not ready, stops, or holds too much (503)",
    Ending.MALFORMED.value: "not a request that the model takes (400 and the like)",
    Ending.TOO_LARGE.value: "larger than the limit (413)",
    Ending.UNKNOWN_MODEL.value: "for a model that is not served (404)",
    Ending.UNAUTHORIZED.value: "without a valid token (401)",
    Ending.TIMED_OUT.value: "the client was too slow to send it (408)",
}


def page() -> str:
    """The whole page as MyST text."""
    parts = [HEAD]
    for title, families in SECTIONS:
        rows = "\n".join(map(_row, families))
        parts.append(f"\n## {title}\n\n| metric | kind | labels | meaning |\n|---|---|---|---|\n{rows}\n")
    outcomes = "\n".join(f"| `{outcome}` | {text} |" for outcome, text in MEANING.items())
    parts.append(
        f"\n## Outcomes\n\nEvery request is in exactly one.\n\n| outcome | meaning |\n|---|---|\n{outcomes}\n"
    )
    parts.append("\n## Buckets\n\n")
    by_bounds: dict[tuple[str, ...], list[str]] = {}
    for family in (*GATEWAY, *DISPATCHER):
        if family.bounds:
            bounds = tuple(f"{bound / family.divisor:g}" for bound in family.bounds)
            by_bounds.setdefault(bounds, []).append(f"`{family.name}`")
    for bounds, names in by_bounds.items():
        parts.append(f"- {', '.join(names)}: {', '.join(bounds)}\n")
    return "".join(parts)


def _row(family: Family) -> str:
    labels = ", ".join(f"`{label}`" for label in family.labels)
    return f"| `{family.name}` | {family.kind} | {labels} | {family.help} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
