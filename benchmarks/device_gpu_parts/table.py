"""The report as a page of Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby
from typing import Any

Report = dict[str, Any]


def page(report: Report) -> str:
    """All that was measured; sections that failed or were left out are named."""
    parts = [
        "# Two models on one GPU",
        _setting(report),
        *_mixes(report),
        *_section("Theta", report.get("theta_rows", []), THETA),
        *_section("Latency against the window", report.get("window_rows", []), ROWS),
        *_section("Hardware queues: time to empty the same work", report.get("drain", []), DRAIN),
        _plain("Side by side: n jobs at once, each at 1/(1 + a (n - 1))", report.get("side_by_side")),
        _plain("Saturation, jobs a second", report.get("saturation")),
        _plain("Overheads", report.get("overheads")),
        _stacks(report),
        _plain("Green contexts", report.get("green_contexts")),
        _plain("Failed sections", report["failed"]),
        f"Left out for time: {len(report['skipped'])} rows.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(report: Report) -> str:
    keys = (
        "date",
        "device",
        "backend",
        "torch",
        "cuda",
        "cudnn",
        "sigma",
        "row_s",
        "seconds",
        "hardware_queues",
    )
    told = "; ".join(f"{key}: {report[key]}" for key in keys if report.get(key) is not None)
    rule = (
        "Latency in ms from the intended send time to the device's end of the last segment; SLO: 5 x the time alone. "
        "Load: part of the most that any way carries (capacity). TF32 is off; inputs are on the device."
    )
    return f"{told}.\n\n{rule}"


def _cell(row: Report, name: str, key: str) -> str:
    value = (row.get(name) or {}).get(key)
    return "" if value is None else f"{value:.1%}" if key == "within_slo" else f"{value:.2f}"


def _figure(row: Report, key: str) -> str:
    value = row.get(key)
    return "" if value is None else str(value)


ROWS = ("how", "rate/s", "short mean", "short p99", "long mean", "long p99", "all mean", "all p99", "short SLO",
        "long SLO", "lost", "decide p99 us")  # fmt: skip
THETA = (
    "theta",
    "short mean",
    "short p99",
    "long mean",
    "long p99",
    "long's part of contended service",
    "Jain",
)
DRAIN = ("queues", "kernel us", "sending s", "drained s", "one at a time / queues s")


def _cells(row: Report, columns: tuple[str, ...]) -> list[str]:
    if columns is DRAIN:
        keys = ("queues", "kernel_us", "sending_s", "drained_s", "one_at_a_time_over_queues_s")
        return [_figure(row, key) for key in keys]
    both = [_cell(row, name, key) for name in ("short", "long") for key in ("mean_ms", "p99_ms")]
    if columns is THETA:
        theta = "infinite (SRPT)" if row.get("theta") is None else f"{row['theta']:g}"
        return [
            theta,
            *both,
            _figure(row, "long_share_of_backlogged_service"),
            _figure(row, "jain_of_backlogged_service"),
        ]
    over_all = [_cell(row, "all", key) for key in ("mean_ms", "p99_ms")]
    slo = [_cell(row, name, "within_slo") for name in ("short", "long")]
    decide = _figure(row.get("decide_us") or {}, "p99")
    return [row["mode"], _figure(row, "rate_rps"), *both, *over_all, *slo, _figure(row, "lost"), decide]


def _table(rows: Iterable[Report], columns: tuple[str, ...]) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cells(row, columns)) + " |" for row in rows]
    return "\n".join(lines)


def _section(title: str, rows: list[Report], columns: tuple[str, ...]) -> list[str]:
    if not rows:
        return []
    where = rows[0]
    at = f" ({where['dtype']}, {where['mix']}, load {where['load']})" if "mix" in where else ""
    return [f"## {title}{at}", _table(rows, columns)]


def _mixes(report: Report) -> list[str]:
    def key(row: Report) -> tuple[str, str, float]:
        return row["dtype"], row["mix"], row["load"]

    parts = []
    for (dtype, mix, load), rows in groupby(sorted(report["rows"], key=key), key):
        parts += [f"## {dtype}, {mix} mix, load {load}", _table(rows, ROWS)]
    return parts


def _plain(title: str, value: Any) -> str:
    if not value:
        return ""
    lines: list[str] = []
    _listed(value, "", lines)
    return f"## {title}\n\n" + "\n".join(lines)


def _listed(value: Any, indent: str, lines: list[str]) -> None:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict) and any(isinstance(each, dict | list) for each in inner.values()):
            lines.append(f"{indent}- {key}:")
            _listed(inner, indent + "  ", lines)
        elif isinstance(inner, dict):
            lines.append(f"{indent}- {key}: " + ", ".join(f"{name} {each}" for name, each in inner.items()))
        else:
            lines.append(f"{indent}- {key}: {inner}")


def _stacks(report: Report) -> str:
    lines = []
    for row in report["rows"]:
        for name, parts in row.get("stack", {}).items():
            where = f"{row['dtype']}, {row['mix']}, load {row['load']}"
            cells = [where, row["mode"], name, *(f"{value:.1f}" for value in parts.values())]
            lines.append("| " + " | ".join(cells) + " |")
    if not lines:
        return ""
    head = ("where", "how", "model", "queue", "decide", "launch", "run", "gaps", "total")
    rule = "|" + " --- |" * len(head)
    return "\n".join(
        ["## Where a job's time goes (means, us)", "", "| " + " | ".join(head) + " |", rule, *lines]
    )
