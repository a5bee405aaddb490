"""Alert rules and the dashboard: Prometheus takes them, each alert fires, each metric is there."""

from __future__ import annotations

import json
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import pytest
from livepin_server.monitor.rules import GROUPS, prometheus_rules
from livepin_server.telemetry.metrics import Metrics
from livepin_server.telemetry.monitoring import EndpointReading, MonitoringCollector, Readings
from prometheus_client.parser import text_string_to_metric_families

DOCS = Path(__file__).parents[4] / "docs" / "monitoring"
DASHBOARD = DOCS / "grafana.json"
FIRST_LINE = "# Alert rules for Prometheus, made by livepin monitor export.\n"
AGAIN = "write it anew: livepin monitor export --out docs/monitoring/livepin-rules.yml"

_NAME = re.compile(r"livepin_[a-z_]+")
_LATER = "3h"  # after the start, when each alert has fired
_SOON = "172800+0x200"  # seconds since 1970, which is where promtool's time begins: two days
_PLACE = {"account": "acme", "domain": "*.example.com", "host": "a.example.com", "port": "443"}
_PLACE |= {"vantage": "here"}
_EXPIRES = ("livepin_endpoint_certificate_expires_timestamp_seconds", _PLACE, _SOON)

# What makes each alert fire, and what it says then.
FIRES = {
    "LivepinPinMismatch": (
        ("livepin_endpoint_pin_match", _PLACE, "1x30 0+0x200"),
        "apps of acme do not accept what a.example.com:443 serves",
    ),
    "LivepinIncident": (
        (
            "livepin_incidents",
            {"account": "acme", "kind": "partial", "severity": "critical"},
            "0x30 2+0x200",
        ),
        "an incident of acme is open: partial",
    ),
    "LivepinCertificateExpires": (
        _EXPIRES, "a certificate of a.example.com:443 expires within two weeks",
    ),
    "LivepinCertificateExpiresSoon": (
        _EXPIRES, "a certificate of a.example.com:443 expires within three days",
    ),
    "LivepinMonitorSilent": (
        ("livepin_monitor_heartbeat_timestamp_seconds", {"vantage": "eu-west"}, "60+0x200"),
        "nobody looks from eu-west any more",
    ),
    "LivepinNoticesNotDelivered": (
        ("livepin_notices_waiting", {"account": "acme"}, "0x30 1+0x200"),
        "notices of acme wait for a channel that does not take them",
    ),
    "LivepinNoticesDead": (
        ("livepin_notices_dead", {"account": "acme"}, "0x30 3+0x200"),
        "nobody got 3 notices of acme",
    ),
    "LivepinAbsent": (("up", {}, "1x200"), "Prometheus gets no metrics of Livepin"),
    "LivepinNotInStep": (
        ("livepin_in_step", {"instance": "pins:8444"}, "1x30 0+0x200"),
        "pins:8444 does not serve everything that is published",
    ),
    "LivepinExportNotInStep": (
        ("livepin_export_in_step", {"target": "s3://pins"}, "1x30 0+0x200"),
        "s3://pins does not have everything that is published",
    ),
    "LivepinConfigExpires": (
        (
            "livepin_config_expires_timestamp_seconds",
            {"account": "acme", "stream": "main"},
            _SOON,
        ),
        "the config main of acme is not signed anew",
    ),
    "LivepinRootExpires": (
        ("livepin_root_expires_timestamp_seconds", {"account": "acme"}, _SOON),
        "the root of acme expires within 90 days",
    ),
    "LivepinDeliveryCertificateExpires": (
        (
            "livepin_delivery_certificate_expires_timestamp_seconds",
            {"instance": "pins:8444"},
            _SOON,
        ),
        "the delivery certificate of pins:8444 expires within 90 days",
    ),
}  # fmt: skip
_FAR = "31536000+0x200"  # a year

# The same series where nothing is wrong.
FINE = [
    ("livepin_endpoint_pin_match", _PLACE, "1x200"),
    ("livepin_endpoint_certificate_expires_timestamp_seconds", _PLACE, _FAR),
    ("livepin_monitor_heartbeat_timestamp_seconds", {"vantage": "here"}, "0+60x200"),
    ("livepin_notices_waiting", {"account": "acme"}, "0x100 4x5 0x95"),
    ("livepin_notices_dead", {"account": "acme"}, "0x200"),
    ("livepin_in_step", {"instance": "pins:8444"}, "1x200"),
    ("livepin_export_in_step", {"target": "s3://pins"}, "1x200"),
    ("livepin_config_expires_timestamp_seconds", {"account": "acme", "stream": "main"}, _FAR),
    ("livepin_root_expires_timestamp_seconds", {"account": "acme"}, _FAR),
    ("livepin_delivery_certificate_expires_timestamp_seconds", {"instance": "pins:8444"}, _FAR),
]


@pytest.fixture(scope="module")
def promtool(counterpart):
    tool = counterpart("promtool")

    def run(cwd, *arguments):
        done = subprocess.run(
            [tool, *arguments], capture_output=True, text=True, check=False, cwd=cwd
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "rules.yml").write_text(prometheus_rules())
    return tmp_path


def series(name, labels, values):
    inside = ", ".join(f"{key}={json.dumps(value)}" for key, value in labels.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


def fires(alerts):
    """Return a test for promtool: that these alerts fire together, and what each says."""
    severities = {each.name: each.severity for group in GROUPS.values() for each in group}
    inputs, rule_tests = [], []
    for alert in alerts:
        (name, labels, values), summary = FIRES[alert]
        inputs.append(series(name, labels, values))
        said = {
            "exp_labels": labels | {"severity": severities[alert]},
            "exp_annotations": {"summary": summary},
        }
        rule_tests.append({"alertname": alert, "eval_time": _LATER, "exp_alerts": [said]})
    return {
        "interval": "1m",
        "input_series": [each for n, each in enumerate(inputs) if each not in inputs[:n]],
        "alert_rule_test": rule_tests,
    }


def silent():
    """Return a test for promtool: that nothing fires where nothing is wrong."""
    rule_tests = [
        {"alertname": alert, "eval_time": at, "exp_alerts": []}
        for alert in FIRES
        for at in ("30m", "1h43m", _LATER)
    ]
    inputs = [series(*each) for each in FINE]
    return {"interval": "1m", "input_series": inputs, "alert_rule_test": rule_tests}


def test_promtool_takes_the_rules(promtool, folder):
    assert f"{len(FIRES)} rules found" in promtool(folder, "check", "rules", "rules.yml")


def test_each_rule_has_a_test():
    assert {each.name for group in GROUPS.values() for each in group} == set(FIRES)


def test_each_alert_fires_and_says_where_and_none_where_nothing_is_wrong(promtool, folder):
    tests = [fires([each for each in FIRES if each != "LivepinAbsent"]), fires(["LivepinAbsent"])]
    tests.append(silent())
    # JSON is YAML.
    (folder / "test.yml").write_text(json.dumps({"rule_files": ["rules.yml"], "tests": tests}))
    assert "SUCCESS" in promtool(folder, "test", "rules", "test.yml")


# -- what the documentation holds ----------------------------------------------------------------


def known_metrics():
    """Return the names that a scrape has, where there is everything."""
    metrics = Metrics()
    now = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
    labels = ("acme", "*.example.com", "a.example.com", 443, "here")
    found = Readings(
        endpoints=[EndpointReading(labels, True, now, now, 40)],
        monitored={("acme", "here"): 1},
        incidents={("acme", "partial", "critical"): 1},
        waiting={"acme": 0},
        dead={"acme": 0},
        looks={"here": now},
        beats={"here": now},
    )
    metrics.registry.register(MonitoringCollector(lambda: found))
    families = text_string_to_metric_families(metrics.text().decode())
    declared = set()
    for family in families:
        declared.add(family.name if family.type != "counter" else f"{family.name}_total")
    return declared


def expressions():
    """Return each query of the dashboard."""
    found = []

    def walk(node):
        if isinstance(node, dict):
            if "expr" in node:
                found.append(node["expr"])
            if isinstance(node.get("query"), str) and "livepin_" in node["query"]:
                found.append(re.sub(r"label_values\((.*), *\w+\)", r"\1", node["query"]))
            node = list(node.values())
        if isinstance(node, list):
            for each in node:
                walk(each)

    walk(json.loads(DASHBOARD.read_text("utf-8")))
    return found


def test_rules_ask_for_metrics_that_there_are():
    rules = [each.expression for group in GROUPS.values() for each in group]
    named = {name for each in rules for name in _NAME.findall(each)}
    assert named <= known_metrics()


def test_the_dashboard_asks_for_metrics_that_there_are():
    named = {name for each in expressions() for name in _NAME.findall(each)}
    assert len(named) > 10
    assert named <= known_metrics()


def test_prometheus_can_parse_each_query_of_the_dashboard(promtool, tmp_path):
    rules = [
        {"record": f"query:{number}", "expr": each.replace("$account", ".*")}
        for number, each in enumerate(expressions())
    ]
    file = {"groups": [{"name": "dashboard", "rules": rules}]}
    (tmp_path / "queries.yml").write_text(json.dumps(file))
    assert f"{len(rules)} rules found" in promtool(tmp_path, "check", "rules", "queries.yml")


def test_the_rules_in_the_documentation_are_those_of_this_version():
    found = (DOCS / "livepin-rules.yml").read_text("utf-8")
    assert found == FIRST_LINE + prometheus_rules(), AGAIN
