"""An app whose pin check is defeated by Frida: its next tokens are decoys, and the log says why.

No policy is configured. Each way is shown to work: the attacker's server, refused before, gets the
request of the app.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

import pytest
from attaching import FRIDA, REPLACED_DATA, REPLACED_FUNCTION, Talker, attacher, attacked
from livepin.middleware.check import RefusedError, Request, TokenCheck
from livepin.pins import Pin
from livepin.testing import FakeClock, RecordingServer, make_authority, make_chain
from livepin_server import folder
from livepin_server.folder import Plan
from livepin_server.listener import available_port
from livepin_server.lock import holding
from livepin_server.services.audit.log import Wanted
from livepin_server.services.model import Intent, NewDomain, NewPin
from livepin_server.settings import Settings

HOST = "localhost"
INTENT = Intent(author="bob", reason="a test")
PASSED, STOPPED = "HTTP/1.1 200 X", "PinMismatchError"


@dataclass
class Stage:
    """A server, a backend that checks tokens, an app, an attacker, and Frida."""

    server: Any
    check: TokenCheck
    app: Talker
    frida: Talker
    rogue: RecordingServer
    pins: tuple[Pin, Pin]  # the API's, the attacker's
    numbers: Iterator[int]
    refused: str = ""

    def status(self) -> int:
        """Return what the backend answers to the app, with a token that it gets now."""
        token = self.app.ask("token", str(next(self.numbers)))["token"]
        assert token
        request = Request(method="GET", path="/", values=lambda _: [token])
        try:
            self.check.check(request)
        except RefusedError as exc:
            self.refused = exc.reason
            return exc.status
        return 200

    def verdicts(self) -> list[dict[str, Any]]:
        """Return what the audit log says of installations whose verdict changed."""
        self.server.services.recording.keep()
        page = self.server.services.audit.log("acme", Wanted(action="installation.verdict"))
        return [each.entry.after for each in page.items]


@pytest.fixture(scope="module")
def frida(
    tmp_path_factory: pytest.TempPathFactory, missing: Callable[[str], NoReturn]
) -> Iterator[Talker]:
    """Frida, one for all tests."""
    if not FRIDA.exists():
        missing("Frida is not here; install it with: .ci/counterparts")
    with attacher(tmp_path_factory.mktemp("frida")) as found:
        yield found


@pytest.fixture
def stage(serving: Any, frida: Talker, tmp_path: Path) -> Iterator[Stage]:
    """Everything, where the app has just passed, and the attacker was stopped."""
    authority = make_authority("Public CA")
    good, rogue = (make_chain(HOST, authority=authority) for _ in range(2))
    data, port, clock = tmp_path / "data", available_port("127.0.0.1", 0), FakeClock(_now())
    settings = Settings(
        delivery_urls=[f"https://{HOST}:{port}"], delivery_host="127.0.0.1", delivery_port=port,
        management_port=0,
    )  # fmt: skip
    plan = Plan(data=data, account="acme", settings=settings, root_key=None, passphrase=None)
    folder.initialise(plan, clock=clock)
    with contextlib.ExitStack() as stack:
        stack.enter_context(holding(data))
        server = stack.enter_context(serving(data, clock=clock))
        pin = NewPin(sha256=str(good.pin))
        server.services.domains.add("acme", NewDomain(pattern=HOST, pins=[pin], token=True), INTENT)
        bootstrap = server.services.published.bootstrap("acme", "main").to_text()
        app = tmp_path / "app.json"
        app.write_text(json.dumps({"bootstrap": bootstrap, "ca": authority.pem}))
        found = Stage(
            server,
            TokenCheck(
                audience=HOST,
                jwks=f"https://{HOST}:{port}/v1/acme/jwks.json",
                ca=(data / "tls" / "ca.pem").read_text(),
            ),
            stack.enter_context(attacked(app)),
            frida,
            stack.enter_context(RecordingServer(rogue)),
            (good.pin, rogue.pin),
            itertools.count(),
        )
        assert found.status() == 200
        assert found.verdicts() == []
        yield found


def _now() -> datetime:
    return datetime.now(timezone.utc).replace(microsecond=0)


def replace_a_function(stage: Stage) -> None:
    assert stage.app.ask("connect", stage.rogue.port) == STOPPED
    assert stage.frida.ask("python", REPLACED_FUNCTION) == 0


def replace_the_pins(stage: Stage) -> None:
    assert stage.app.ask("connect", stage.rogue.port) == STOPPED
    assert stage.frida.ask("python", REPLACED_DATA.format(pin=stage.pins[1])) == 0


def intercept_the_digest(stage: Stage) -> None:
    good, seen = (each.sha256.hex() for each in stage.pins)  # not seen before, so not remembered
    assert stage.frida.ask("digest", {"seen": seen, "instead": good})


@pytest.mark.parametrize("way", [replace_a_function, replace_the_pins, intercept_the_digest])
def test_an_app_whose_pin_check_frida_defeats_is_refused_by_the_backend(stage, way) -> None:
    stage.frida.ask("attach", stage.app.pid)
    try:
        way(stage)
        assert stage.app.ask("connect", stage.rogue.port) == PASSED
        assert (stage.status(), stage.refused) == (401, "signature")
        (entry,) = stage.verdicts()
        assert (entry["verdict"], entry["rule"], entry["policy"]) == ("fail", "signal", 0)
        assert "is fatal: " in entry["why"]
    finally:
        stage.frida.ask("detach")
    assert stage.status() == 401  # what was in the process may have left something behind
