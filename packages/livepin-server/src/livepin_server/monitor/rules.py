"""Alert rules for Prometheus, over the metrics of this version: a second way to be told.

They do not take the place of incidents, which are confirmed by a second look and told by channels;
they also tell what Livepin itself cannot: that it is not there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

_DAY = 24 * 60 * 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An alert: it fires once `expression` has been so for `lasts`."""

    name: str
    expression: str
    severity: str
    summary: str
    lasts: str = "0m"


_PLACE = "{{ $labels.host }}:{{ $labels.port }}"

MONITORING = (
    Rule(
        name="LivepinPinMismatch",
        expression="livepin_endpoint_pin_match == 0",
        lasts="3m",  # a second look has come by then
        severity="critical",
        summary=f"apps of {{{{ $labels.account }}}} do not accept what {_PLACE} serves",
    ),
    Rule(
        name="LivepinIncident",
        expression='sum by (account, kind) (livepin_incidents{severity="critical"}) > 0',
        lasts="1m",
        severity="critical",
        summary="an incident of {{ $labels.account }} is open: {{ $labels.kind }}",
    ),
    Rule(
        name="LivepinCertificateExpires",
        expression=f"livepin_endpoint_certificate_expires_timestamp_seconds - time() < {14 * _DAY}",
        lasts="1h",
        severity="warning",
        summary=f"a certificate of {_PLACE} expires within two weeks",
    ),
    Rule(
        name="LivepinCertificateExpiresSoon",
        expression=f"livepin_endpoint_certificate_expires_timestamp_seconds - time() < {3 * _DAY}",
        lasts="5m",
        severity="critical",
        summary=f"a certificate of {_PLACE} expires within three days",
    ),
    Rule(
        name="LivepinMonitorSilent",
        expression="time() - livepin_monitor_heartbeat_timestamp_seconds > 600",
        lasts="1m",
        severity="critical",
        summary="nobody looks from {{ $labels.vantage }} any more",
    ),
    Rule(
        name="LivepinNoticesNotDelivered",
        expression="livepin_notices_waiting > 0",
        lasts="30m",
        severity="warning",
        summary="notices of {{ $labels.account }} wait for a channel that does not take them",
    ),
    Rule(
        name="LivepinNoticesDead",
        expression="livepin_notices_dead > 0",
        severity="warning",
        summary="nobody got {{ $value }} notices of {{ $labels.account }}",
    ),
)
DELIVERY = (
    Rule(
        name="LivepinAbsent",
        expression="absent(livepin_in_step)",
        lasts="5m",
        severity="critical",
        summary="Prometheus gets no metrics of Livepin",
    ),
    Rule(
        name="LivepinNotInStep",
        expression="livepin_in_step == 0",
        lasts="5m",
        severity="critical",
        summary="{{ $labels.instance }} does not serve everything that is published",
    ),
    Rule(
        name="LivepinExportNotInStep",
        expression="livepin_export_in_step == 0",
        lasts="15m",
        severity="warning",
        summary="{{ $labels.target }} does not have everything that is published",
    ),
    Rule(
        name="LivepinConfigExpires",
        expression=f"livepin_config_expires_timestamp_seconds - time() < {6 * _DAY}",
        lasts="15m",
        severity="critical",
        summary="the config {{ $labels.stream }} of {{ $labels.account }} is not signed anew",
    ),
    Rule(
        name="LivepinRootExpires",
        expression=f"livepin_root_expires_timestamp_seconds - time() < {90 * _DAY}",
        lasts="1h",
        severity="warning",
        summary="the root of {{ $labels.account }} expires within 90 days",
    ),
    Rule(
        name="LivepinDeliveryCertificateExpires",
        expression=(
            f"livepin_delivery_certificate_expires_timestamp_seconds - time() < {90 * _DAY}"
        ),
        lasts="1h",
        severity="warning",
        summary="the delivery certificate of {{ $labels.instance }} expires within 90 days",
    ),
)
GROUPS = {"livepin-monitoring": MONITORING, "livepin-delivery": DELIVERY}


def prometheus_rules() -> str:
    """Return all rules as a file that Prometheus takes among its `rule_files`."""
    lines = ["groups:"]
    for name, rules in GROUPS.items():
        lines += [f"  - name: {name}", "    rules:"]
        for each in rules:
            lines += _lines(each)
    return "\n".join(lines) + "\n"


def _lines(rule: Rule) -> list[str]:
    """Return a rule in YAML: its texts as JSON, which YAML takes as it stands."""
    return [
        f"      - alert: {rule.name}",
        f"        expr: {json.dumps(rule.expression)}",
        f"        for: {rule.lasts}",
        "        labels:",
        f"          severity: {rule.severity}",
        "        annotations:",
        f"          summary: {json.dumps(rule.summary)}",
    ]
