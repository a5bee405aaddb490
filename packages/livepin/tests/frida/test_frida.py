"""Frida, for real: an app is attached to, its pin check defeated, and its next request says so.

Each way of defeating it is shown to work: the attacker's server, refused before, gets the request.
"""

from __future__ import annotations

import itertools

import pytest
from attaching import REPLACED_DATA, REPLACED_FUNCTION, Talker
from livepin.testing import Chain, DeliverySimulator, RecordingServer

PASSED, REFUSED = "HTTP/1.1 200 X", "PinMismatchError"
_number = itertools.count()


def found_by(app: Talker, service: DeliverySimulator) -> dict[str, set[str]]:
    """Return the signals of a request for a token, with what was found by each."""
    assert app.ask("token", str(next(_number)))["state"] == "success"
    (evidence,) = service.token_requests[-1].evidence
    assert evidence["format"] == "signals"
    assert evidence["unchecked"] == []
    found: dict[str, set[str]] = {}
    for each in evidence["found"]:
        found.setdefault(each["signal"], set()).add(each["detail"])
    return found


@pytest.fixture
def clean(app: Talker, service: DeliverySimulator, rogue: RecordingServer) -> Talker:
    """An app that pins, and has nothing to report."""
    assert app.ask("connect", rogue.port) == REFUSED
    assert not FATAL & found_by(app, service).keys()
    return app


FATAL = {"injected_code", "replaced_sdk_function", "changed_code"}


def test_a_replaced_function_is_found_and_stays_reported(
    frida: Talker, clean: Talker, service: DeliverySimulator, rogue: RecordingServer
) -> None:
    frida.ask("attach", clean.pid)
    assert frida.ask("python", REPLACED_FUNCTION) == 0
    assert clean.ask("connect", rogue.port) == PASSED
    found = found_by(clean, service)
    assert found["injected_code"] == {"memfd:frida-agent-64.so"}
    assert found["replaced_sdk_function"] == {"livepin.client.judge.ConfigJudge.check"}
    # It watches the process through the C library.
    assert any(each.startswith("libc.so.6 at ") for each in found["changed_code"])
    assert frida.ask("detach")
    # What it leaves the kernel remembers.
    clean.ask("find", trace := "tracing: libc.so.6 was written to, and put back")
    after = found_by(clean, service)
    assert trace.partition(": ")[2] in after["tracing"]
    assert {name: after[name] for name in FATAL} == {name: found[name] for name in FATAL}


def test_replaced_pins_are_found_between_tokens(
    frida: Talker,
    clean: Talker,
    service: DeliverySimulator,
    rogue: RecordingServer,
    rogues: tuple[Chain, Chain],
) -> None:
    frida.ask("attach", clean.pid)
    assert frida.ask("python", REPLACED_DATA.format(pin=rogues[0].pin)) == 0
    assert frida.ask("detach")
    assert clean.ask("connect", rogue.port) == PASSED
    assert "replaced_sdk_function: data of the config" in clean.ask("find", "replaced_sdk_function")
    assert found_by(clean, service)["replaced_sdk_function"] == {"data of the config"}


def test_an_intercepted_digest_is_found(
    frida: Talker,
    clean: Talker,
    service: DeliverySimulator,
    chain: Chain,
    rogue: RecordingServer,
    rogues: tuple[Chain, Chain],
) -> None:
    rogue.present(rogues[1])  # of the first one, the fingerprint is remembered
    frida.ask("attach", clean.pid)
    change = {"seen": rogues[1].pin.sha256.hex(), "instead": chain.pin.sha256.hex()}
    library = frida.ask("digest", change)
    assert clean.ask("connect", rogue.port) == PASSED
    found = found_by(clean, service)
    assert "injected_code" in found
    assert any(each.startswith(f"{library} at ") for each in found["changed_code"])
    assert "replaced_sdk_function" not in found
    frida.ask("detach")
