"""Alertmanager: alerts that last while an incident does, at a real one of Debian."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone

import httpx
import pytest
from livepin_server.listener import available_port
from livepin_server.monitor.notifiers.alertmanager import AlertmanagerNotifier, alerts_of
from livepin_server.monitor.notifiers.calling import Calling
from livepin_server.services.monitoring.channel_kinds import Alertmanager
from notices import COMMAND, COMMANDS, HAPPENED, NOW, posted

from .conftest import CA

PLAIN = Alertmanager(url="http://127.0.0.1:9093", allow_private=True)
CONFIGURATION = """
route: {receiver: none, group_by: [alertname]}
receivers: [{name: none}]
"""


def now():
    return datetime.now(timezone.utc)


@pytest.fixture(scope="module")
def alertmanager(counterpart, tmp_path_factory, until):
    """The base URL of a real Alertmanager."""
    program = counterpart("prometheus-alertmanager")
    folder = tmp_path_factory.mktemp("alertmanager")
    (folder / "am.yml").write_text(CONFIGURATION)
    port = available_port("127.0.0.1", 0)
    command = [
        program, f"--config.file={folder / 'am.yml'}", f"--storage.path={folder}",
        f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
    ]  # fmt: skip
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def ready():
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return httpx.get(f"{url}/-/ready", trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    try:
        until(ready)
        yield url
    finally:
        process.kill()
        process.wait()


def active(url):
    found = httpx.get(f"{url}/api/v2/alerts", trust_env=False).json()
    return {(each["labels"]["incident"], each["labels"]["severity"]): each for each in found}


def test_a_real_one_shows_an_alert_until_its_incident_ends(alertmanager, tell):
    settings = Alertmanager(url=f"{alertmanager}/", allow_private=True)
    notifier = AlertmanagerNotifier(Calling(clock=now), clock=now)
    since = now() - timedelta(minutes=1)

    def told(event, severity, incident=7):
        said = {"event": event, "severity": severity, "incident": incident, "since": since}
        tell(notifier, posted(settings, **said))
        return active(alertmanager)

    found = told("opened", "warning")
    assert found.keys() == {("7", "warning")}
    alert = found["7", "warning"]
    assert alert["annotations"]["command"] == COMMAND
    assert alert["labels"]["domain"] == "api.example.com"
    assert alert["labels"]["kind"] == "pin_mismatch"
    assert told("again", "warning").keys() == {("7", "warning")}  # no second one
    assert told("worse", "critical").keys() == {("7", "critical")}
    assert told("opened", "info", incident=8).keys() == {("7", "critical"), ("8", "info")}
    assert told("resolved", "critical").keys() == {("8", "info")}


def test_an_alert_lasts_longer_than_it_takes_to_repeat_it():
    alerts = {each["labels"]["severity"]: each for each in alerts_of(posted(PLAIN), NOW)}
    lasts = datetime.fromisoformat(alerts["critical"]["endsAt"]) - NOW
    assert lasts >= 10 * AlertmanagerNotifier.again
    assert alerts["critical"]["startsAt"] == "2026-11-23T11:59:00+00:00"
    assert alerts["warning"]["endsAt"] == NOW.isoformat()


def test_commands_for_two_domains_are_two_lines():
    (alert, *_) = alerts_of(posted(PLAIN, command=COMMANDS), NOW)
    assert alert["annotations"]["command"] == COMMANDS
    (alert, *_) = alerts_of(posted(PLAIN, command="\n".join([COMMAND] * 100)), NOW)
    assert set(alert["annotations"]["command"].split("\n")) == {COMMAND}  # none is cut in two


def test_a_test_is_an_alert_of_its_own_that_ends_soon():
    (alert,) = alerts_of(posted(PLAIN, event="test", incident=None, severity="info"), NOW)
    assert alert["labels"]["alertname"] == "LivepinTest"
    assert datetime.fromisoformat(alert["endsAt"]) - NOW == timedelta(minutes=5)


def test_it_starts_before_it_ends_also_where_a_clock_is_ahead():
    for each in alerts_of(posted(PLAIN, since=NOW + timedelta(hours=2)), NOW):
        assert each["startsAt"] <= each["endsAt"]


def test_who_asks_for_a_login_gets_it(receiver, calling, clock, tell):
    notifier = AlertmanagerNotifier(calling, clock=clock)
    common = {"url": receiver.url, "ca": CA, "allow_private": True}
    for more in ({}, {"user": "u", "password": "p:w"}, {"bearer": "tok"}):
        tell(notifier, posted(Alertmanager(**common, **more), domain=""))
    logins = [headers.get("authorization") for _, headers, _ in receiver.got]
    assert logins == [None, "Basic dTpwOnc=", "Bearer tok"]
    assert receiver.got[0][0] == "/hook/api/v2/alerts"
    assert "domain" not in receiver.got[0][2][0]["labels"]


def test_what_only_happened_ends_by_itself_after_it_was_sent_and_before_the_next():
    (alert,) = alerts_of(posted(PLAIN, **HAPPENED), NOW)
    assert alert["labels"] == {
        "alertname": "Livepin", "account": "acme", "subject": "signal-fail-abc",
        "kind": "installation_refused", "severity": "warning",
    }  # fmt: skip
    assert alert["endsAt"] == (NOW + timedelta(minutes=15)).isoformat()
    assert alert["annotations"]["command"] == HAPPENED["command"]
