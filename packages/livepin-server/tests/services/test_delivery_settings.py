"""Delivery settings: what a config may carry about its own channel."""

import datetime as dt

import msgspec
import pytest
from livepin.pins import Pin
from livepin_server.errors import InvalidError
from livepin_server.services.delivery_settings import DeliverySettings, pin_texts

PIN = "sha256/" + "A" * 43 + "="
GOOD = DeliverySettings(urls=["https://pins.example.com"], pins=[PIN])


def changed(**members):
    return msgspec.structs.replace(GOOD, **members)


@pytest.mark.parametrize(
    "members",
    [
        {"urls": []},
        {"pins": []},
        {"urls": ["http://pins.example.com"]},
        {"urls": ["https://pins.example.com", "pins.example.com"]},
        {"urls": ["https://user:pw@pins.example.com"]},
        {"urls": ["https://pins.example.com?x=1"]},
        {"urls": ["https://pins.example.com:0"]},
        {"recovery_urls": ["ftp://cdn.example.com"]},
        {"pins": ["sha256/short"]},
        {"pins": [PIN, "pin"]},
    ],
    ids=str,
)
def test_what_a_config_may_not_carry_is_refused(members):
    with pytest.raises(InvalidError, match=r"^delivery: ") as caught:
        changed(**members).checked()
    assert "\n" not in str(caught.value)


def test_good_settings_stand_in_the_document_as_they_are():
    found = changed(recovery_urls=["http://cdn.example.com"], ca="PEM").checked().document()
    assert found.urls == ("https://pins.example.com",)
    assert found.recovery_urls == ("http://cdn.example.com",)
    assert found.pins.pins == (Pin(bytes(32)),)
    assert found.ca == "PEM"


def test_the_interval_is_in_seconds_and_bounded():
    assert GOOD.interval == dt.timedelta(minutes=5)
    for wrong in (0, 604801):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(msgspec.to_builtins(GOOD) | {"refresh_interval": wrong}, type(GOOD))


def test_pins_are_texts_and_unknown_algorithms_have_none():
    assert pin_texts((Pin(bytes(32)), Pin(None))) == [PIN]
