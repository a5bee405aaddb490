"""How a domain is monitored: what is not said stays, and no other host is looked at."""

from __future__ import annotations

import pytest
from livepin_server.errors import InvalidError, NotFoundError
from livepin_server.services.audit.log import Wanted
from livepin_server.services.monitoring.model import MonitorChange, MonitorSettings
from livepin_server.services.monitoring.settings import MonitoringSettings, place_of


@pytest.fixture
def settings(services, clock):
    """The settings."""
    return MonitoringSettings(services.database, clock=clock)


def test_what_is_not_said_stays_and_the_audit_log_tells(settings, services, add_domain, intent):
    add_domain("*.example.com")
    first = MonitorChange(every=60, hosts=["A.example.com", "a.example.com:443", "b.example.com:1"])
    settings.change("acme", "*.EXAMPLE.com", first, intent)
    after = settings.change("acme", "*.example.com", MonitorChange(lead=7, tags=["a", "a"]), intent)
    assert after == MonitorSettings(
        every=60, hosts=["a.example.com:443", "b.example.com:1"], lead=7, tags=["a"]
    )
    assert settings.all("acme") == {"*.example.com": after}
    page = services.audit.log("acme", Wanted(action="monitor.set"))
    assert [each.entry.target for each in page.items] == 2 * ["*.example.com"]
    assert page.items[0].entry.before["lead"] == 21
    assert page.items[0].entry.after["lead"] == 7
    assert settings.change("acme", "*.example.com", MonitorChange(hosts=[]), intent).hosts == []


def test_a_domain_that_no_stream_has_is_refused(settings, add_domain, intent):
    add_domain("api.example.com")
    with pytest.raises(NotFoundError) as caught:
        settings.change("acme", "ap.example.com", MonitorChange(every=60), intent)
    assert caught.value.hint == "did you mean api.example.com?"
    assert settings.all("acme") == {}


@pytest.mark.parametrize(
    ("pattern", "host"),
    [
        ("*.example.com", "example.com"),
        ("*.example.com", "169.254.169.254:80"),
        ("*.example.com", "a.example.com.evil.test"),
        ("api.example.com", "localhost:8443"),
    ],
)
def test_a_domain_lets_nobody_look_at_other_hosts(settings, add_domain, intent, pattern, host):
    add_domain(pattern)
    with pytest.raises(InvalidError, match="expected hosts that"):
        settings.change("acme", pattern, MonitorChange(hosts=[host]), intent)
    assert settings.all("acme") == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("A.example.com.", ("a.example.com", 443)),
        ("a.example.com:8443", ("a.example.com", 8443)),
        ("192.0.2.1:1", ("192.0.2.1", 1)),
        ("2001:DB8::1", ("2001:db8::1", 443)),
        ("[2001:db8::1]", ("2001:db8::1", 443)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_places_are_read(text, place):
    assert place_of(text) == place


@pytest.mark.parametrize("text", ["", ":443", "a:", "a:0", "a:65536", "a:x", "a:٣", "a b", "a:b:c"])
def test_what_is_no_place_is_refused(text):
    with pytest.raises(InvalidError, match="expected HOST or HOST:PORT"):
        place_of(text)


def test_an_address_keeps_its_brackets(settings, add_domain, intent):
    add_domain("2001:db8::1")
    change = MonitorChange(hosts=["[2001:db8::1]:8443"])
    assert settings.change("acme", "2001:db8::1", change, intent).hosts == ["[2001:db8::1]:8443"]
