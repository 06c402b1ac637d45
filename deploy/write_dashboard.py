"""Write ``deploy/grafana/penstock.json``, the Grafana dashboard; a test holds it current.

``python deploy/write_dashboard.py``. A panel is a title, what it says, and PromQL; places and looks come from here.
``$rate`` in a query is the window that Grafana chooses from the scrape interval; ``$of`` chooses the models.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from penstock.serve.observe.catalogue import CLIENT_OUTCOMES

PAGE = Path(__file__).parent / "grafana" / "penstock.json"
SCHEMA_VERSION = 39  # Grafana 10.4 and later read it; later ones migrate it
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT = 8, 8
COLUMNS = 24 // WIDTH

Query = tuple[str, str]
"""PromQL, and the legend of its series."""
Panel = tuple[str, str, str, list[Query]]
"""Title, description, unit, queries."""


def quantile(q: float, metric: str, by: str = "model") -> str:
    """The quantile ``q`` of a histogram, for each ``by``."""
    return f"histogram_quantile({q}, sum by (le, {by}) (rate({metric}_bucket{{$of}}[$rate])))"


def mean(metric: str, by: str) -> str:
    """The mean of a histogram, for each ``by``."""
    sums = (f"sum by ({by}) (rate({metric}_{part}{{$of}}[$rate]))" for part in ("sum", "count"))
    return " / ".join(sums)


ROWS: dict[str, list[Panel]] = {
    "Requests": [
        (
            "Attainment",
            "Requests answered in time, of those that a server can answer: a drop, a refusal and an error are misses.",
            "percentunit",
            [
                (
                    'sum by (model) (rate(penstock_requests_total{outcome="met", $of}[$rate])) / '
                    f'sum by (model) (rate(penstock_requests_total{{outcome!~"{CLIENT_OUTCOMES}", $of}}[$rate]))',
                    "{{model}}",
                )
            ],
        ),
        (
            "Requests",
            "Offered, and the rate that the plan has room for (dashed).",
            "reqps",
            [
                ("sum by (model) (rate(penstock_requests_total{$of}[$rate]))", "{{model}}"),
                ("max by (model) (penstock_model_planned_requests_per_second{$of})", "{{model}} planned"),
            ],
        ),
        (
            "Not answered in time, by cause",
            "Every request is in exactly one outcome; those that met their deadline are left out here.",
            "reqps",
            [
                (
                    'sum by (outcome) (rate(penstock_requests_total{outcome!="met", $of}[$rate])) > 0',
                    "{{outcome}}",
                )
            ],
        ),
        (
            "Latency",
            "From arrival at the gateway to the result; the objective is dashed.",
            "s",
            [
                (quantile(0.5, "penstock_request_latency_seconds"), "{{model}} p50"),
                (quantile(0.99, "penstock_request_latency_seconds"), "{{model}} p99"),
                ("max by (model) (penstock_model_slo_seconds{$of})", "{{model}} planned"),
            ],
        ),
        (
            "Queue",
            "From arrival to the batch.",
            "s",
            [
                (quantile(0.5, "penstock_request_queue_seconds"), "{{model}} p50"),
                (quantile(0.99, "penstock_request_queue_seconds"), "{{model}} p99"),
            ],
        ),
        (
            "Slack at finish",
            "Time that was left to the deadline. The lowest hundredth says how near the plan is to its limit.",
            "s",
            [
                (quantile(0.01, "penstock_request_slack_seconds"), "{{model}} lowest 1%"),
                (quantile(0.5, "penstock_request_slack_seconds"), "{{model}} p50"),
                (quantile(0.99, "penstock_request_lateness_seconds"), "{{model}} late by, p99"),
            ],
        ),
    ],
    "Fleet": [
        (
            "Utilisation by pool",
            "Time that workers ran batches, of the time of all workers of the plan.",
            "percentunit",
            [
                (
                    "sum by (pool, device_class) (rate(penstock_pool_busy_seconds_total[$rate])) / "
                    "max by (pool, device_class) (penstock_pool_workers)",
                    "{{device_class}} pool {{pool}}",
                )
            ],
        ),
        (
            "Workers that are down",
            "Workers of the plan less those that can serve.",
            "short",
            [
                (
                    "max by (pool, device_class) (penstock_pool_workers) - "
                    "sum by (pool, device_class) (penstock_pool_workers_up)",
                    "{{device_class}} pool {{pool}}",
                )
            ],
        ),
        (
            "Failures",
            "Workers that went down, and batches that a worker could not run.",
            "short",
            [
                (
                    "sum by (device_class) (rate(penstock_pool_worker_failures_total[$rate]))",
                    "{{device_class}} workers",
                ),
                (
                    "sum by (device_class) (rate(penstock_batch_failures_total[$rate]))",
                    "{{device_class}} batches",
                ),
            ],
        ),
        (
            "Batch fill",
            "Mean samples of a batch over the batch size of the plan.",
            "percentunit",
            [(mean("penstock_batch_fill_ratio", "model, pipeline"), "{{model}}/{{pipeline}}")],
        ),
        (
            "Stages, mean",
            "A batch on its worker.",
            "s",
            [
                (
                    mean("penstock_stage_execution_seconds", "model, pipeline, stage"),
                    "{{model}}/{{pipeline}}/{{stage}}",
                )
            ],
        ),
        (
            "Stages later than reserved, p99",
            "If it grows, the profile is too fast, or the machine is shared with others.",
            "s",
            [
                (
                    quantile(0.99, "penstock_reservation_late_seconds", "model, pipeline, stage"),
                    "{{model}}/{{pipeline}}/{{stage}}",
                )
            ],
        ),
        (
            "Stages earlier than reserved, p50",
            "Time that was reserved and not used.",
            "s",
            [
                (
                    quantile(0.5, "penstock_reservation_early_seconds", "model, pipeline, stage"),
                    "{{model}}/{{pipeline}}/{{stage}}",
                )
            ],
        ),
        (
            "Wait at the worker, p99",
            "A batch that has arrived and has not started.",
            "s",
            [
                (
                    quantile(0.99, "penstock_stage_wait_seconds", "model, pipeline, stage"),
                    "{{model}}/{{pipeline}}/{{stage}}",
                )
            ],
        ),
        (
            "Transfer, p99",
            "From the sender of a batch to its worker.",
            "s",
            [
                (
                    quantile(0.99, "penstock_stage_transfer_seconds", "model, pipeline, stage"),
                    "{{model}}/{{pipeline}}/{{stage}}",
                )
            ],
        ),
    ],
    "Server": [
        (
            "Cores in use",
            "One thread decides: a dispatcher near one core is at its limit.",
            "short",
            [("sum by (process) (rate(penstock_process_cpu_seconds_total[$rate]))", "{{process}}")],
        ),
        (
            "Memory",
            "The most that each process had.",
            "bytes",
            [("max by (process) (penstock_process_resident_memory_bytes)", "{{process}}")],
        ),
        (
            "Samples in flight",
            "They wait or run.",
            "short",
            [("sum(penstock_samples_in_flight)", "samples")],
        ),
    ],
}


def written(query: str) -> str:
    """The PromQL as Grafana gets it."""
    return query.replace("$rate", "$__rate_interval").replace("$of", 'model=~"$model"')


def panel(number: int, place: int, top: int, spec: Panel) -> dict[str, Any]:
    """A panel at a ``place`` of the row that begins at ``top``."""
    title, description, unit, queries = spec
    dashed = {
        "matcher": {"id": "byRegexp", "options": ".*planned"},
        "properties": [{"id": "custom.lineStyle", "value": {"fill": "dash", "dash": [8, 8]}}],
    }
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "description": description,
        "datasource": SOURCE,
        "gridPos": {
            "x": place % COLUMNS * WIDTH,
            "y": top + place // COLUMNS * HEIGHT,
            "w": WIDTH,
            "h": HEIGHT,
        },
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": written(expr), "legendFormat": legend}
            for i, (expr, legend) in enumerate(queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": unit,
                "min": 0,
                **({"max": 1} if unit == "percentunit" else {}),
                "custom": {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 5, "showPoints": "never"},
            },
            "overrides": [dashed],
        },
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }


def panels() -> list[dict[str, Any]]:
    """All rows with their panels."""
    made: list[dict[str, Any]] = []
    top = 0
    for title, specs in ROWS.items():
        row = {"id": len(made) + 1, "type": "row", "title": title, "collapsed": False, "panels": []}
        made.append({**row, "gridPos": {"x": 0, "y": top, "w": 24, "h": 1}})
        top += 1
        for place, spec in enumerate(specs):
            made.append(panel(len(made) + 1, place, top, spec))
        top += -(-len(specs) // COLUMNS) * HEIGHT
    return made


def dashboard() -> dict[str, Any]:
    """The dashboard's document."""
    return {
        "uid": "penstock",
        "title": "Penstock",
        "description": "A server of Penstock: requests, pools, processes.",
        "tags": ["penstock", "inference"],
        "schemaVersion": SCHEMA_VERSION,
        "timezone": "browser",
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "model",
                    "label": "Model",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": "label_values(penstock_model_slo_seconds, model)",
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"selected": True, "text": "All", "value": "$__all"},
                },
            ]
        },
        "annotations": {"list": []},
        "panels": panels(),
    }


def page() -> str:
    """The file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
