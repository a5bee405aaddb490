"""The story, step by step, and the table at its end."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from livepin.jose import PrivateKey, sign_compact
from livepin.testing import pin_of
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .stage import HOST, OTHER, Stage, StageError

_LATE = 3.0  # seconds by which the emergency pin comes late, about
_WAITED = 4.5  # seconds by which it may come late at most, with its way to the app
_TRIES = 3
_PATIENCE = 30.0  # seconds
_STOPPED = "PinMismatchError"
_COMMAND = 1.0  # seconds that a command takes, about, on a machine that is not busy


@dataclass(frozen=True, slots=True)
class Shown:
    """One promise: whether it held, and what was measured."""

    step: str
    promise: str
    measured: str
    held: bool


class Story:
    """Plays the steps on a stage and keeps what they showed."""

    def __init__(self, stage: Stage, console: Console) -> None:
        self._stage = stage
        self._console = console
        self.shown: list[Shown] = []
        self._command = _COMMAND

    def play(self) -> None:
        """Play all steps; one that fails does not stop the others."""
        self._set_up()
        steps: list[tuple[str, str, Callable[[], str]]] = [
            ("a", "a request over a pinned connection", self._pinned),
            ("b", "a man in the middle gets no byte: the API", self._attacked),
            ("b", "a man in the middle gets no byte: Livepin's own channel", self._channel),
            ("c", "a planned change: pin first, then the certificate", self._planned),
            ("d", f"an emergency: the pin {_LATE:.0f} s after the certificate", self._emergency),
            ("e", "Livepin's channel cut and re-keyed: recovery", self._recovered),
            ("f", "the app restarts offline, and is pinned at once", self._offline),
            ("g", "a forged and a rolled-back config are refused", self._forged),
            ("h", "a backend takes the app, and nobody else", self._tokens),
            ("i", "a tampered app gets nothing from the backend", self._tampered),
            ("j", "a pentester's device is unpinned, and no other", self._pentest),
            ("k", "a certificate that nobody pinned: people are told, and how", self._watched),
        ]
        for name, promise, step in steps:
            self._console.print(Text(f"\n({name}) {promise}", style="bold"))
            try:
                measured, held = step(), True
            except (StageError, AssertionError) as exc:
                measured, held = f"{exc}", False
            self._say(measured, "green" if held else "bold red")
            self.shown.append(Shown(name, promise, measured, held))

    def _set_up(self) -> None:
        stage = self._stage
        self._say("livepin init, livepin serve: a server with its own root key and TLS identity")
        stage.initialise()
        stage.start_server()
        for host, port in ((HOST, stage.api.port), (OTHER, stage.other.port)):
            self._say(f"livepin domain add {host}: the key that this API serves now is pinned")
            ca, connect = str(stage.folder / "demo-ca.pem"), f"127.0.0.1:{port}"
            stage.livepin("domain", "add", host, "--connect", connect, "--ca", ca)
        stage.livepin("bootstrap", "--dev", "--out", str(stage.folder / "bootstrap.json"))
        self._say("an app starts with that bootstrap, and calls both APIs, five times a second")
        stage.start_app()

    def _pinned(self) -> str:
        first = self._until(lambda line: line["ok"] and line["push"], 30)[-1]
        return f"status 200, by config version {first['version']}; the push channel is open"

    def _attacked(self) -> str:
        stage, attacker = self._stage, self._stage.attacker
        stage.api_line.point(attacker.port)
        self._say("the app's line now ends at an attacker, with a certificate that it trusts")
        refused = self._until(lambda line: line["outcome"] == "PinMismatchError", 30)[-1]
        self._until(lambda line: line["ok"] and line["url"] == stage.other_url, 30)
        leaked = len(attacker.received)
        stage.api_line.point(stage.api.port)
        self._until(lambda line: line["ok"] and line["url"] == stage.url, 30)
        assert leaked == 0, f"{leaked} bytes leaked"
        assert attacker.handshakes > 0, "the attacker saw no handshake"
        return f"{refused['outcome']}; {leaked} bytes at the attacker; the other API goes on"

    def _channel(self) -> str:
        stage = self._stage
        attacker, before = stage.attacker, len(stage.attacker.received)
        connections = attacker.connections
        stage.delivery_line.point(attacker.port)
        # An error alone may be that of a fetch that was under way when the line was moved.
        self._until(lambda line: line["error"] and attacker.connections > connections, 60)
        stage.delivery_line.point(stage.delivery_port)
        self._until(lambda line: line["ok"] and line["error"] is None, 60)
        leaked = len(attacker.received) - before
        tried = attacker.connections - connections
        assert leaked == 0, f"{leaked} bytes leaked"
        return f"connections refused: {tried}; {leaked} bytes at the attacker; requests go on"

    def _planned(self) -> str:
        stage, chain = self._stage, self._stage.next_chain()
        done = stage.livepin("pin", "add", HOST, str(pin_of(chain.leaf)), "--label", "next")
        version = done["publication"]["version"]
        started = time.monotonic()
        before = self._until(lambda line: line["version"] >= version, 30)
        arrived = time.monotonic() - started
        self._say(f"the app has version {version}; now the API changes its certificate")
        return self._changed(chain, before) + f"; the pin arrived in {arrived:.1f} s"

    def _emergency(self) -> str:
        late = self._pinned_late()
        for _ in range(_TRIES - 1):
            if late < _WAITED:
                break
            self._say("apps wait 5 s for a pin, and this machine is too busy for that: once more")
            self._until(lambda line: line["ok"] and line["url"] == self._stage.url, 30)
            late = self._pinned_late()
        lines = self._until(lambda line: line["ok"] and line["seconds"] > 1, 30)
        lines += [self._next() for _ in range(5)]
        failed = [line for line in lines if not line["ok"]]
        assert not failed, f"{len(failed)} requests failed: {failed[0]['outcome']}"
        longest = max(line["seconds"] for line in lines)
        return f"0 failed of {len(lines)} requests; the longest waited {longest:.1f} s"

    def _pinned_late(self) -> float:
        """Change the API's certificate, and pin it later; return after how many seconds."""
        stage, chain = self._stage, self._stage.next_chain()
        self._drain()
        stage.api.present(chain)
        stage.api_line.point(stage.api.port)
        self._say("the API's certificate has changed, and nobody has pinned its key")
        started = time.monotonic()
        time.sleep(max(_LATE - self._command, 0))
        asked = time.monotonic()
        stage.livepin("pin", "add", HOST, str(pin_of(chain.leaf)), "--label", "emergency")
        late, self._command = time.monotonic() - started, time.monotonic() - asked
        self._say(f"the operator has pinned it, {late:.1f} s late")
        return late

    def _recovered(self) -> str:
        stage = self._stage
        stage.delivery_line.point(None)
        stage.stop_server()
        stage.livepin("delivery", "renew-keys")
        version = stage.sync_recovery()
        self._say("delivery is down and has new keys; its config is on a plain HTTP server")
        served = stage.recovery.served
        lines = self._until(lambda line: line["version"] >= version, 60)
        assert stage.recovery.served > served, "nothing was fetched from the recovery channel"
        stage.start_server()
        stage.delivery_line.point(stage.delivery_port)
        lines += self._until(lambda line: line["push"] and line["error"] is None, 90)
        failed = sum(not line["ok"] for line in lines)
        assert failed == 0, f"{failed} requests failed"
        return f"version {version} came unpinned; the new keys are pinned; {failed} failed"

    def _offline(self) -> str:
        stage = self._stage
        assert stage.app is not None
        version = self._next()["version"]
        stage.app.stop()
        stage.delivery_line.point(None)
        stage.recovery.files.clear()
        stage.api_line.point(stage.attacker.port)
        before = len(stage.attacker.received)
        stage.start_app()
        first = self._next()
        leaked = len(stage.attacker.received) - before
        stage.api_line.point(stage.api.port)
        then = self._until(lambda line: line["ok"], 30)[-1]
        assert first["outcome"] == "PinMismatchError", f"the first request: {first['outcome']}"
        assert leaked == 0, f"{leaked} bytes leaked"
        assert then["version"] == version, f"version {then['version']}, expected {version}"
        return f"version {version} from its store; the attacker's first try got {leaked} bytes"

    def _forged(self) -> str:
        stage = self._stage
        version = self._next()["version"]
        shown = stage.livepin("config", "show")
        path = "/v1/demo/config/main"
        forged = shown["payload"] | {"version": version + 100}
        thief = PrivateKey.generate()
        stage.recovery.files[path] = sign_compact(
            json.dumps(forged).encode(), typ="livepin-config+jws", signer=thief
        )
        by_forgery = self._until(lambda line: line["rule"] in (2, 3), 60)[-1]["rule"]
        old = stage.livepin("config", "show", str(version - 1))
        stage.recovery.files[path] = old["document"].encode()
        by_rollback = self._until(lambda line: line["rule"] == 7, 60)[-1]
        assert by_rollback["version"] == version, "the version went down"
        stage.recovery.files.clear()
        stage.delivery_line.point(stage.delivery_port)
        return f"forged: rule {by_forgery}; rolled back: rule 7; still version {version}"

    def _tokens(self) -> str:
        stage = self._stage
        self._next()
        self._say(f"livepin domain set-token {OTHER} on: apps send a token, and the backend checks")
        version = stage.livepin("domain", "set-token", OTHER, "on")["publication"]["version"]
        self._until(lambda line: line["version"] >= version, 30)
        stage.take_by_token()
        # A request that was under way when the backend began to check had no token.
        self._until(
            lambda line: self._is_other(line) and line["ok"] and bool(stage.backend.token), 30
        )
        self._say(f"{stage.stranger} calls the same API: without a token, and with the app's")
        alone = stage.call()
        assert alone == 401, f"{stage.stranger} without a token: {alone}"
        late = self._a_day_later()
        # By its id, not as the latest: it is in the list a second after it has asked.
        blocked = stage.backend.installation
        self._say(f"livepin installation block {blocked}: and the app starts anew")
        stage.livepin("installation", "block", blocked, "--reason", "the story")
        refused = self._restarted(lambda line: line["outcome"] == "401")
        why = stage.backend.refused
        assert why == "signature", f"a decoy is refused: {why}"
        stage.livepin("installation", "unblock", blocked)
        self._restarted(lambda line: line["ok"])
        return (
            f"app 200; {stage.stranger} {alone}; yesterday's token {late}; "
            f"blocked {refused['outcome']}"
        )

    def _a_day_later(self) -> int:
        """Return what the backend answers tomorrow to a token that it takes today."""
        stage, backend = self._stage, self._stage.backend
        token = backend.token
        today = stage.call(token)
        assert today == 200, f"today's token: {today}"
        backend.ahead = timedelta(days=1)
        try:
            found = stage.call(token)
        finally:
            backend.ahead = timedelta()
        assert found == 401, f"yesterday's token: {found}"
        assert backend.refused == "expired", f"yesterday's token is refused: {backend.refused}"
        again = stage.call(token)
        assert again == 200, f"today's token, after the clock was set right: {again}"
        return found

    def _tampered(self) -> str:
        stage = self._stage
        self._next()
        self._say("the app starts anew, and something in its process switches the pin check off")
        refused = self._restarted(lambda line: line["outcome"] == "401", "--tampered")
        why = stage.backend.refused
        assert why == "signature", f"a decoy is refused: {why}"
        self._say(f"livepin policy explain {refused['installation']}: which rule decided")
        told = self._told(refused["installation"])
        self._restarted(lambda line: line["ok"])
        return f"backend {refused['outcome']}: {told['why']}; left alone, it gets 200"

    def _told(self, installation: str) -> dict[str, Any]:
        """Return why an installation is refused: it is written a second after it was."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            told: dict[str, Any] = self._stage.livepin("policy", "explain", installation)
            if told["verdict"] == "fail":
                return told
            assert time.monotonic() < deadline, f"the verdict: {told['verdict']}"

    def _pentest(self) -> str:
        stage, tester = self._stage, self._stage.start_tester()
        identity = tester.until(lambda line: bool(line["installation"]), timeout=30)[-1][
            "installation"
        ]
        stage.other_line.point(stage.tool.port)
        self._say("the lines of two devices to the second API now end at a tool that reads along")
        tester.until(lambda line: line["outcome"] == _STOPPED, timeout=30)
        command = ["override", "create", identity, "--domain", OTHER, "--mode", "off"]
        self._say(f"livepin {' '.join(command)} --for 1m")
        stage.livepin(*command, "--for", "1m", "--reason", "a pentest")
        self._drain()
        tester.until(lambda line: self._is_other(line) and line["ok"], timeout=60)
        others = [line for line in self._drained(12) if self._is_other(line)]
        leaked = [line for line in others if line["outcome"] != _STOPPED]
        assert not leaked, f"another device: {leaked[0]['outcome']}"
        self._say(f"livepin override end {identity}")
        stage.livepin("override", "end", identity, "--reason", "done")
        tester.until(lambda line: line["outcome"] == _STOPPED, timeout=60)
        stage.other_line.point(stage.other.port)
        self._until(lambda line: self._is_other(line) and line["ok"], 30)
        return f"its requests pass the tool; of another device 0 of {len(others)} do; then it ended"

    def _watched(self) -> str:
        stage = self._stage
        stage.livepin(
            "channel", "add", "webhook", "ops", "--url", stage.duty.url,
            "--ca", str(stage.folder / "demo-ca.pem"), "--allow-private",
        )  # fmt: skip
        # Not the first API: that its key came late may be an incident that is not over yet.
        stage.other.present(stage.other_chain())
        stage.other_line.point(stage.other.port)  # which cuts what is open
        self._until(lambda line: self._is_other(line) and line["outcome"] == _STOPPED, 30)
        self._say(
            "the second API's certificate has changed, and the app stops; livepin monitor run"
        )
        started = time.monotonic()
        stage.livepin("monitor", "run", OTHER, found=True)
        told = stage.duty.told("incident.opened", timeout=_PATIENCE)
        seconds = time.monotonic() - started
        assert told["domain"] == OTHER, f"told of {told['domain']}"
        self._say(f"who has to know reads: {told['sentence']}")
        self._say(f"and runs: {told['command']}")
        self._drain()
        stage.livepin(*shlex.split(told["command"])[1:])
        self._until(lambda line: self._is_other(line) and line["ok"], 30)
        return f"told in {seconds:.1f} s; the command that it names lets the app in again"

    def _drained(self, number: int) -> list[dict[str, Any]]:
        """Return so many lines, the first of a request that was not under way before."""
        self._drain()
        self._next()
        return [self._next() for _ in range(number)]

    def _restarted(
        self, condition: Callable[[dict[str, Any]], bool], *options: str
    ) -> dict[str, Any]:
        """Start the app anew; return what becomes of its requests to the second API."""
        stage = self._stage
        assert stage.app is not None
        stage.app.stop()
        stage.start_app(*options)
        return self._until(lambda line: self._is_other(line) and condition(line), 30)[-1]

    def _is_other(self, line: dict[str, Any]) -> bool:
        return bool(line["url"] == self._stage.other_url)

    def _changed(self, chain: Any, before: list[dict[str, Any]]) -> str:
        stage = self._stage
        self._drain()
        handshakes = stage.api.handshakes
        stage.api.present(chain)
        stage.api_line.point(stage.api.port)
        lines = before + [self._next() for _ in range(12)]
        failed = [line for line in lines if not line["ok"]]
        assert stage.api.handshakes > handshakes, "nobody connected anew"
        assert not failed, f"{len(failed)} requests failed: {failed[0]['outcome']}"
        return f"0 failed of {len(lines)} requests"

    def _until(
        self, condition: Callable[[dict[str, Any]], bool], timeout: float
    ) -> list[dict[str, Any]]:
        assert self._stage.app is not None
        return self._stage.app.until(condition, timeout=timeout)

    def _next(self) -> dict[str, Any]:
        assert self._stage.app is not None
        return self._stage.app.next()

    def _drain(self) -> None:
        assert self._stage.app is not None
        self._stage.app.drain()

    def _say(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"    {text}", style=style))


def run(*, stay: bool) -> int:
    """Play the story; return 0 if every promise held."""
    console = Console(highlight=False, soft_wrap=True)
    stage = Stage()
    try:
        story = Story(stage, console)
        try:
            story.play()
        except StageError as exc:
            console.print(Text(f"error: {exc}", style="bold red"))
            return 1
        _table(console, story.shown)
        if not all(each.held for each in story.shown):
            console.print(Text(f"\nThe end of the log:\n{stage.tail()}"))
        if stay:
            _explore(console, stage)
        return 0 if all(each.held for each in story.shown) else 1
    except KeyboardInterrupt:
        return 130
    finally:
        stage.close()


def _table(console: Console, shown: list[Shown]) -> None:
    table = Table(title="\nWhat was shown", title_justify="left", header_style="bold")
    for column in ("", "promise", "measured", "held"):
        table.add_column(column, overflow="fold")
    for each in shown:
        held = Text("yes", style="green") if each.held else Text("NO", style="bold red")
        table.add_row(f"({each.step})", each.promise, each.measured, held)
    console.print(table)


def _explore(console: Console, stage: Stage) -> None:
    console.print(
        Text(
            f"\nEverything stays up until Ctrl-C. Try:\n"
            f"  export LIVEPIN_DATA={stage.data}\n"
            f"  .venv/bin/livepin domain list\n"
            f"  .venv/bin/livepin config log\n"
            f"  .venv/bin/livepin domain check {HOST} --port {stage.api.port} "
            f"--ca {stage.folder / 'demo-ca.pem'}\n"
        )
    )
    try:
        while stage.app is not None:
            stage.app.next()
    except KeyboardInterrupt:
        console.print("stopping")
