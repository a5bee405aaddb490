"""What spec/delivery.md says is what delivery does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from livepin_server.delivery import app, events, reports, snapshot
from livepin_server.exports.static import documents
from livepin_server.services.model import NewDomain
from livepin_server.services.overrides.model import NewOverride
from livepin_server.settings import Settings

TEXT = (Path(__file__).parents[4] / "spec" / "delivery.md").read_text("utf-8")
SETTINGS = Settings(delivery_urls=[])


def block(start: str) -> str:
    """Return the code block that begins with a text."""
    (found,) = [each for each in re.findall(r"```\w*\n(.*?)```", TEXT, re.S) if start in each]
    return found


def test_every_refusal_stands_in_its_table() -> None:
    table = TEXT[TEXT.index("## Errors") : TEXT.index("## Limits")]
    named = {int(each) for each in re.findall(r"^\| (\d{3}) \|", table, re.M)}
    assert named == {each for each in app._STATUSES if each >= 400}


def test_the_report_in_it_is_taken(server) -> None:
    assert server.send("POST", "/v1/acme/reports", content=block('"host"')).status_code == 202


def test_the_problem_in_it_is_what_is_answered(server) -> None:
    assert server.send("GET", "/nothing").text == block('"title"').strip()


def test_the_events_in_it_are_what_is_sent() -> None:
    sent = events._event("main", 1, 7) + events._event("canary", 1, 9) + events._BEAT
    assert block("event: config").strip() == sent.decode().strip()


@pytest.mark.parametrize(
    "said",
    [
        documents.CONFIG_CACHING,
        documents.ROOT_CACHING,
        documents.OVERRIDE_CACHING,
        f"after {events.HEARTBEAT:.0f} seconds at the latest",
        f"at most {reports.MAX_SIZE // 1024} KiB ({reports.MAX_SIZE:,} bytes)",
        f"at least {snapshot._SMALLEST_GZIP} bytes",
        f"| {SETTINGS.requests_per_second:.0f} a second and ",
        f"in all and from one address | {SETTINGS.max_streams:,}, unless",
    ],
)
def test_its_numbers_are_those_of_the_code(said: str) -> None:
    assert said in TEXT


def test_each_route_in_it_is_there_and_no_other(server, new_pin, intent, until) -> None:
    pins, thumbprint = [new_pin()], "t" * 43
    server.services.domains.add("acme", NewDomain(pattern="api.test", pins=pins), intent)
    new = NewOverride(installation=thumbprint, domains=["api.test"], mode="off")
    server.services.overrides.create("acme", new, intent, tested=False)
    until(lambda: server.send("GET", f"/v1/acme/override/{thumbprint}").status_code == 200)
    table = TEXT[TEXT.index("## Routes") : TEXT.index("## Documents")]
    paths = re.findall(r"`(/v1/[^`…]+|/\w+z)`", table)
    named = {
        "{account}": "acme", "{stream}": "main", "{version}": "1", "{thumbprint}": thumbprint,
    }  # fmt: skip
    for path in paths:
        real = re.sub(r"\{\w+\}", lambda found: named[found[0]], path)
        status = server.send("PUT", real).status_code
        assert status == (200 if real.endswith("z") else 405), real
    assert json.loads(block('"host"')).keys() == set(reports.Report.__struct_fields__)
