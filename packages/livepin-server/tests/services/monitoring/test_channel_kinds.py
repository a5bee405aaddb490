"""The settings of channels: what is right is whole, what is not is refused and not quoted."""

from __future__ import annotations

import msgspec
import pytest
from livepin_server.errors import InvalidError
from livepin_server.services.monitoring.channel_kinds import (
    Alertmanager,
    Apprise,
    Email,
    NewChannel,
    PagerDuty,
    Webhook,
    checked,
    decode,
    encode,
    kind_of,
)

URL = "https://hooks.example.com/x"
RIGHT = [
    Email(to=["ops@example.com", "o'brien+x@mail.example.org"]),
    Webhook(url=URL, secret="whsec_" + "QUJD" * 8),
    Webhook(url="http://10.0.0.1/x", secret="QUJD" * 8, allow_private=True),
    PagerDuty(routing_key="a" * 32),
    Alertmanager(url="https://alerts.example.com/base/"),
    Alertmanager(url="https://alerts.example.com", user="u", password="p w".replace(" ", ":")),
    Apprise(url="tgram://token/chat"),
    Apprise(url="tgram://template/verify?format=text&verify_by=x&text=verify"),
    Apprise(url="mmost://10.0.0.1/token", allow_private=True),
]
WRONG = [
    (Email(to=[]), "expected an address"),
    *(
        (Email(to=[each]), "expected an address such as")
        for each in (
            "nobody", "a@", "@b", "a@b\r\nBcc: c@d", "Ops <ops@example.com>", "a b@example.com",
            "a@example.com, b@example.com", "a@example..com", "a@b>", "<a@b", "\u00e4@example.com",
            "a@example.com\n", "a..b@example.com", "a@example.com SIZE=1",
        )
    ),
    (Webhook(url=URL, secret="short"), "expected the secret of a webhook"),
    (Webhook(url=URL, secret="whsec_QUJD"), "expected the secret of a webhook"),
    (Webhook(url=URL, secret="whsec_" + "QUJD" * 30), "expected the secret of a webhook"),
    (Webhook(url=URL, ca="no certificate"), "expected certificates in PEM"),
    (Webhook(url="https://10.0.0.1/"), "private address"),
    (PagerDuty(routing_key="a" * 31), "routing key"),
    (PagerDuty(routing_key="a" * 31 + "\n"), "routing key"),
    (Alertmanager(url="https://alerts.example.com?x=y"), "without a query"),
    (Alertmanager(url=URL, user="u"), "a user and a password, or neither"),
    (Alertmanager(url=URL, password="p"), "a user and a password, or neither"),
    (Alertmanager(url=URL, user="u", password="p", bearer="b"), "or a token, found both"),
    (Alertmanager(url=URL, bearer="a\r\nX: y"), "printable ASCII"),
    (Alertmanager(url=URL, user="a:b", password="p"), "printable ASCII"),
    (Apprise(url="slack"), "expected a URL of apprise"),
    (Apprise(url="slack://"), "expected a URL of apprise"),
    (Apprise(url="slack://a\nb"), "expected a URL of apprise"),
    (Apprise(url="mmost://chat.example.com/token"), "speaks in cleartext"),
    *(
        (Apprise(url=f"slack://a/b/c{each}"), "expected certificates to be verified")
        for each in (
            "?Verify=no", "/?%20verify=no", "?a=b&+verify=no", "?a=b;verify=no", "?-verify=no",
            "?%2520verify=no", "?%76erify=no", "?verify%20=no", "?x?verify=no", "?%3averify=no",
            "?template=/etc/passwd", "?TEMPLATE=https://evil.example/", "?%09template=x",
            "%3Ftemplate=x", "?verify", "?template&x=y",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize("settings", RIGHT, ids=range(len(RIGHT)))
def test_what_is_right_is_taken_as_it_is_and_comes_back(settings):
    found, target = checked(settings)
    assert found == settings
    assert target
    assert decode(encode(found)) == settings
    assert kind_of(settings) == type(settings).__name__.lower()
    assert repr(settings) == f"{type(settings).__name__}(...)"


@pytest.mark.parametrize(("settings", "reason"), WRONG, ids=range(len(WRONG)))
def test_what_is_not_right_is_refused(settings, reason):
    with pytest.raises(InvalidError, match=reason) as caught:
        checked(settings)
    assert "\n" not in str(caught.value)


def test_a_channel_is_read_from_json_by_its_kind():
    said = b'{"name": "ops", "settings": {"kind": "pagerduty", "routing_key": "k"}}'
    found = msgspec.json.decode(said, type=NewChannel)
    assert found.settings == PagerDuty(routing_key="k")
    assert "routing" not in repr(found)
    for wrong in (b'"kind": "other"', b'"kind": "email", "to": [], "url": "x"'):
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(b'{"name": "ops", "settings": {' + wrong + b"}}", type=NewChannel)
