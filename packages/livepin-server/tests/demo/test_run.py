"""The demonstration: every step holds, and one that does not is said to have failed."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import pytest
from livepin.middleware.check import TokenCheck
from livepin.testing import TokenIssuer
from livepin_server.cli.app import main
from livepin_server.demo.run import Story
from livepin_server.demo.stage import OTHER, App, Stage, StageError
from rich.console import Console


@pytest.mark.timeout(300)
def test_every_promise_is_kept(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Measured, its commands would take longer than apps wait for what they do.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    assert main(["demo", "--exit"]) == 0
    shown = capfd.readouterr().out
    for step in "abcdefghijk":
        assert f"({step})" in shown
    who = "a script" if shutil.which("curl") is None else "curl"
    assert f"    app 200; {who} 401; yesterday's token 401; blocked 401\n" in shown
    assert "NO" not in shown


@pytest.mark.parametrize("who", ["curl", "a script"])
def test_a_stranger_is_taken_by_a_token_of_today_alone(
    who: str, counterpart: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(Path(counterpart("curl")).parent) if who == "curl" else "")
    issuer, stage = TokenIssuer(OTHER), Stage()
    try:
        assert stage.stranger == who
        backend = stage.backend
        assert stage.call() == 200
        backend.check = TokenCheck(audience=OTHER, jwks=issuer.jwks(), clock=backend.now)
        assert (stage.call(), backend.refused) == (401, "missing")
        token = issuer.token()
        assert (stage.call(token), backend.token) == (200, token)
        backend.ahead = timedelta(days=1)
        assert (stage.call(token), backend.refused) == (401, "expired")
        backend.ahead = timedelta()
        assert stage.call(token) == 200
    finally:
        stage.close()


class BrokenStage:
    """A stage on which nothing works but the set-up."""

    app = None

    def __getattr__(self, name: str) -> object:
        if name in ("initialise", "start_server", "livepin", "start_app"):
            return lambda *_: None
        raise StageError(f"no {name}")

    folder = api = other = property(lambda self: _Anything())


class _Anything:
    port = 1

    def __truediv__(self, _: str) -> str:
        return "x"


def test_a_step_that_fails_is_shown_as_failed_and_does_not_stop_the_others() -> None:
    text = io.StringIO()
    story = Story(cast("Stage", BrokenStage()), Console(file=text))
    story.play()
    assert [each.step for each in story.shown] == list("abbcdefghijk")
    assert not any(each.held for each in story.shown)


def test_an_app_that_ended_is_noticed_at_once(tmp_path_factory: pytest.TempPathFactory) -> None:
    with (tmp_path_factory.mktemp("app") / "log").open("wb") as log:
        app = App(["--bootstrap", "nothing"], log)
        with pytest.raises(StageError, match="ended"):
            app.next()
        with pytest.raises(StageError, match="ended"):
            app.until(lambda _: True, timeout=5)
        app.drain()
        app.stop()
