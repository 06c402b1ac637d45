"""Dashboard and rules: PromQL that parses, about metrics and labels that exist, in a document that Grafana knows."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import promql_parser
import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import timeseries
from grafana_foundation_sdk.models.dashboard import Dashboard
from grafana_foundation_sdk.models.dashboard import Panel as GrafanaPanel

from penstock.serve.observe.catalogue import CLIENT_OUTCOMES, FAMILIES, exported_names

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "penstock.json").read_text())
RULES = yaml.safe_load((DEPLOY / "prometheus" / "penstock.rules.yaml").read_text())["groups"][0]["rules"]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
FROM_GRAFANA = {"$__rate_interval": "1m", "$model": "resnet.*"}
BY_PROMETHEUS = {"job", "instance", "le"}
RECORDED = {
    rule["record"]: set(rule["record"].split(":")[0].split("_")) for rule in RULES if "record" in rule
}


def expressions():
    for panel in PANELS:
        for target in panel["targets"]:
            text = target["expr"]
            for name, value in FROM_GRAFANA.items():
                text = text.replace(name, value)
            yield pytest.param(text, id=f"{panel['title']}-{target['refId']}")
    for rule in RULES:
        yield pytest.param(rule["expr"], id=rule.get("alert") or rule["record"])


def selectors(node):
    """Every selector of a parsed expression, found by walking over all attributes that hold expressions."""
    if isinstance(node, promql_parser.VectorSelector):
        yield node
    for name in ("expr", "param", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(node, name, None)
        for one in inner if isinstance(inner, list) else [inner]:
            if one is not None:
                yield from selectors(one)


def family_of(name):
    for ending in ("", "_bucket", "_sum", "_count"):
        family = FAMILIES.get(name.removesuffix(ending))
        if family is not None:
            return family
    raise AssertionError(name)


@pytest.mark.parametrize("text", list(expressions()))
def test_an_expression_parses_and_its_metrics_and_labels_exist(text):
    found = list(selectors(promql_parser.parse(text)))
    assert found
    for selector in found:
        if selector.name == "up" or selector.name in RECORDED:
            continue
        assert selector.name in exported_names()
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= {*family_of(selector.name).labels, *BY_PROMETHEUS}
    # What is grouped by must be a label of everything below, or the series fall into one.
    for group in grouped(promql_parser.parse(text)):
        for selector in selectors(group.expr):
            known = RECORDED.get(selector.name) or {*family_of(selector.name).labels}
            assert set(group.modifier.labels) <= known | BY_PROMETHEUS


def grouped(node):
    """Every aggregation with a ``by``."""
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier is not None:
        yield node
    for name in ("expr", "param", "lhs", "rhs", "args"):
        inner = getattr(node, name, None)
        for one in inner if isinstance(inner, list) else [inner]:
            if one is not None:
                yield from grouped(one)


def test_a_wrong_expression_would_be_seen():
    with pytest.raises(ValueError, match="parenthesis"):
        promql_parser.parse("sum by (model (rate(x[1m]))")
    (selector,) = selectors(promql_parser.parse("rate(penstock_nothing_total[1m])"))
    assert selector.name not in exported_names()


def kept(ours, theirs, path="dashboard"):
    """Everything in ``ours`` is in ``theirs``: a key that Grafana's model does not know would be lost on the way."""
    if isinstance(ours, dict):
        for key, value in ours.items():
            assert key in theirs, f"{path}.{key}"
            kept(value, theirs[key], f"{path}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), path
        for index, pair in enumerate(zip(ours, theirs, strict=True)):
            kept(*pair, f"{path}[{index}]")
    else:
        assert ours == theirs, path


def through(model, document):
    return json.loads(JSONEncoder(sort_keys=True).encode(model.from_json(document)))


def test_grafana_knows_every_field_of_the_dashboard():
    kept(DASHBOARD, through(Dashboard, DASHBOARD))
    for panel in PANELS:
        kept(panel, through(GrafanaPanel, panel), panel["title"])
        kept(panel["options"], through(timeseries.Options, panel["options"]))
        custom = panel["fieldConfig"]["defaults"]["custom"]
        kept(custom, through(timeseries.FieldConfig, custom))


def test_panels_have_numbers_of_their_own_and_do_not_overlap():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_the_dashboard_is_current():
    assert (
        runpy.run_path(str(DEPLOY / "write_dashboard.py"))["page"]()
        == (DEPLOY / "grafana" / "penstock.json").read_text()
    )


def test_the_rules_leave_out_the_same_requests_as_the_dashboard():
    attainment = next(rule for rule in RULES if "attainment" in rule.get("record", ""))
    assert f'outcome!~"{CLIENT_OUTCOMES}"' in attainment["expr"]


def test_every_alert_says_whom_it_wakes_and_why():
    for rule in RULES:
        if "alert" in rule:
            assert rule["labels"]["severity"] in ("page", "ticket")
            assert rule["annotations"]["summary"].endswith(".")


def test_the_scrape_configuration_names_the_rules_beside_it():
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
    for name in config["rule_files"]:
        assert (DEPLOY / "prometheus" / name).exists()
    assert config["scrape_configs"][0]["metrics_path"] == "/metrics"
    assert config["scrape_configs"][0]["job_name"] == "penstock"
