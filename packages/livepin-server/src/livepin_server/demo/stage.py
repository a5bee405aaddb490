"""The stage: a server as `livepin serve` runs it, two APIs, an app, and a hostile network."""

from __future__ import annotations

import json
import os
import queue
import secrets
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO, Any

from livepin.middleware.check import TokenCheck
from livepin.testing import Chain, HTTPAnswer, RecordingServer, make_authority, make_chain
from livepin.tokens import HEADER

from livepin_server.listener import available_port

from .backend import Backend
from .switch import Switch

HOST = "localhost"
OTHER = "127.0.0.1"
_LIVEPIN = [sys.executable, "-m", "livepin"]
_START_TIME = 60.0  # seconds, on a busy machine
_FOUND = 1  # the exit code of a command that was done, and has found something


class StageError(Exception):
    """Something of the demonstration itself did not start or answer."""


class App:
    """The app process, and what it says of its requests."""

    def __init__(self, arguments: list[str], log: IO[bytes]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "livepin_server.demo.app", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        self._lines: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def next(self, *, timeout: float = _START_TIME) -> dict[str, Any]:
        """Return what the app says of its next request."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise StageError("the app says nothing") from None
        if line is None:
            self._lines.put(None)
            raise StageError("the app has ended")
        return line

    def until(
        self, condition: Callable[[dict[str, Any]], bool], *, timeout: float
    ) -> list[dict[str, Any]]:
        """Return what the app says, up to the first request for which `condition` holds."""
        deadline, found = time.monotonic() + timeout, []
        while time.monotonic() < deadline:
            line = self.next()
            found.append(line)
            if condition(line):
                return found
        raise StageError(f"this did not happen within {timeout:.0f} s; last: {found[-1:]}")

    def drain(self) -> None:
        """Forget what was said so far."""
        while not self._lines.empty():
            if self._lines.get() is None:
                self._lines.put(None)
                return

    def stop(self) -> None:
        """End the app and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(timeout=5)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)


class Recovery:
    """The recovery channel: a plain HTTP server of static bytes, as any store or CDN is."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.served = 0
        recovery = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = recovery.files.get(self.path)
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")
                recovery.served += body is not None

            def log_message(self, *_: object) -> None:
                """Stay quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://localhost:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()


class Duty:
    """Who has to know: a program that takes webhooks."""

    def __init__(self, chain: Chain) -> None:
        self._told: queue.Queue[dict[str, Any]] = queue.Queue()
        self._server = RecordingServer(chain, post=self._take)
        self.url = f"https://{HOST}:{self._server.port}/"

    def _take(self, _path: str, _headers: dict[str, str], body: bytes) -> HTTPAnswer:
        self._told.put(json.loads(body))
        return 200, {}, b""

    def told(self, kind: str, *, timeout: float) -> dict[str, Any]:
        """Return the first notice of a kind that comes.

        Raises:
            StageError: none has come in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                found = self._told.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty as exc:
                raise StageError(f"nobody was told in {timeout:.0f} s: {kind}") from exc
            if found["type"] == kind:
                notice: dict[str, Any] = found["data"]
                return notice

    def close(self) -> None:
        """Stop."""
        self._server.close()


class Stage:
    """Everything that runs during the demonstration."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="livepin-demo-")
        self.folder = Path(self._folder.name)
        self.data = self.folder / "data"
        self.authority, self.rogue = make_authority("Demo CA"), make_authority("Rogue CA")
        self.others = make_authority("Other CA")  # what breaks from one CA is one incident
        self.chain = make_chain(HOST, authority=self.authority)
        self.api = RecordingServer(self.chain)
        self.backend = Backend()
        chain = self.other_chain()
        self.other = RecordingServer(chain, respond=self.backend.respond)
        self.attacker = RecordingServer(make_chain(HOST, authority=self.rogue))
        self.tool = RecordingServer(make_chain(OTHER, authority=self.rogue))
        self.recovery = Recovery()
        self.duty = Duty(make_chain(HOST, authority=self.authority))
        self.api_line, self.other_line = Switch(self.api.port), Switch(self.other.port)
        self.delivery_port, self.management_port = (
            available_port("127.0.0.1", 0) for _ in range(2)
        )
        self.delivery_line = Switch(self.delivery_port)
        self.app: App | None = None
        self.tester: App | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self.log = self.folder / "log"
        self._log = self.log.open("wb")
        # The app's trust store holds the attacker's CA: without pins it would be believed.
        good = self.authority.pem + self.others.pem
        (self.folder / "ca.pem").write_text(good + self.rogue.pem)
        (self.folder / "demo-ca.pem").write_text(good)

    @property
    def url(self) -> str:
        """The URL of the API that changes and is attacked."""
        return f"https://{HOST}:{self.api_line.port}/"

    @property
    def other_url(self) -> str:
        """The URL of the API beside it, which is left in peace."""
        return f"https://{OTHER}:{self.other_line.port}/"

    def take_by_token(self) -> None:
        """Have the second API check tokens, with the keys that the server gives."""
        self.backend.check = TokenCheck(
            audience=OTHER,
            jwks=f"https://{HOST}:{self.delivery_port}/v1/demo/jwks.json",
            ca=(self.data / "tls" / "ca.pem").read_text(),
            clock=self.backend.now,
        )

    @property
    def stranger(self) -> str:
        """What sends a request that is no app of ours: curl, where it is installed."""
        return "a script" if shutil.which("curl") is None else "curl"

    def call(self, token: str | None = None) -> int:
        """Return the status of a stranger's request to the second API, with a token that it has."""
        fields = {} if token is None else {HEADER: token}
        if self.stranger == "curl":
            return self._curl(fields)
        context = ssl.create_default_context(cadata=self.others.pem)
        request = urllib.request.Request(self.other_url, headers=fields)  # noqa: S310
        try:
            with urllib.request.urlopen(request, context=context) as answer:  # noqa: S310
                return int(answer.status)
        except urllib.error.HTTPError as exc:
            return int(exc.code)

    def _curl(self, fields: dict[str, str]) -> int:
        options = ["--disable", "--silent", "--noproxy", "*", "--output", os.devnull]
        options += ["--write-out", "%{http_code}", "--cacert", str(self.folder / "demo-ca.pem")]
        done = subprocess.run(
            ["curl", *options, "--header", "@-", self.other_url],  # noqa: S607 - whichever is here
            # In an argument every process of this machine could read it.
            input="".join(f"{name}: {value}\n" for name, value in fields.items()),
            capture_output=True,
            text=True,
            timeout=_START_TIME,
            check=False,
        )
        return int(done.stdout or 0)

    def next_chain(self) -> Chain:
        """Return a new certificate with a new key for the API, from the same CA."""
        return make_chain(HOST, authority=self.authority)

    def other_chain(self) -> Chain:
        """Return a new certificate with a new key for the second API, from its CA."""
        return make_chain(OTHER, authority=self.others)

    def initialise(self) -> None:
        """Run `livepin init`, with a short refresh interval."""
        passphrase = secrets.token_urlsafe(24)
        self.livepin(
            "init", str(self.data), "--account", "demo",
            "--url", f"https://{HOST}:{self.delivery_line.port}",
            "--recovery-url", self.recovery.url,
            "--port", str(self.delivery_port), "--management-port", str(self.management_port),
            "--root-key", str(self.folder / "root.key"),
            environment={"LIVEPIN_ROOT_PASSPHRASE": passphrase},
        )  # fmt: skip
        self.livepin("delivery", "set", "--refresh-interval", "2")

    def start_server(self) -> None:
        """Run `livepin serve`, until it answers."""
        self._server = subprocess.Popen(
            [*_LIVEPIN, "serve", "--data", str(self.data)],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "LIVEPIN_DELIVERY_HOST": "127.0.0.1"},
        )
        deadline = time.monotonic() + _START_TIME
        while not (self.data / "run" / "management.json").exists():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise StageError(f"the server did not start: {self.tail()}")
            time.sleep(0.05)

    def stop_server(self) -> None:
        """Stop the server as SIGTERM does, and wait for it."""
        if self._server is not None:
            self._server.terminate()
            self._server.wait(timeout=30)
            self._server = None

    def livepin(
        self, *arguments: str, environment: dict[str, str] | None = None, found: bool = False
    ) -> Any:
        """Run an operator's command, which may say that it has found something; return its JSON."""
        data = [] if arguments[0] == "init" else ["--data", str(self.data)]
        done = subprocess.run(
            [*_LIVEPIN, *arguments, *data, "--json"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={**os.environ, **(environment or {})},
            timeout=_START_TIME,
            check=False,
        )
        if done.returncode != 0 and not (found and done.returncode == _FOUND):
            raise StageError(f"livepin {' '.join(arguments)}: {done.stderr.decode().strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def start_app(self, *options: str) -> App:
        """Start the app with its bootstrap and its store."""
        self.app = self._app("state.json", *options)
        return self.app

    def start_tester(self) -> App:
        """Start the same app on another device, a pentester's, as it is built today."""
        bootstrap = self.folder / "today.json"
        self.livepin("bootstrap", "--dev", "--out", str(bootstrap))
        self.tester = self._app("tester.json", bootstrap=bootstrap.name)
        return self.tester

    def _app(self, store: str, *options: str, bootstrap: str = "bootstrap.json") -> App:
        return App(
            [
                "--bootstrap", str(self.folder / bootstrap),
                "--store", str(self.folder / store),
                "--ca", str(self.folder / "ca.pem"),
                "--url", self.url, "--url", self.other_url, *options,
            ],
            self._log,
        )  # fmt: skip

    def sync_recovery(self) -> int:
        """Copy the newest config to the recovery channel; return its version."""
        shown = self.livepin("config", "show")
        path = "/v1/demo/config/main"
        self.recovery.files[path] = shown["document"].encode()
        return int(shown["publication"]["version"])

    def close(self) -> None:
        """End every process and server."""
        for app in (self.app, self.tester):
            if app is not None:
                app.stop()
        self.stop_server()
        for each in (self.api_line, self.other_line, self.delivery_line, self.recovery):
            each.close()
        for server in (self.api, self.other, self.attacker, self.tool, self.duty):
            server.close()
        self._log.close()
        self._folder.cleanup()

    def tail(self) -> str:
        """Return the end of what the server and the app have logged."""
        return self.log.read_text()[-2000:]
