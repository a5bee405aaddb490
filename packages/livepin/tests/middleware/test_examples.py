"""The examples of backends, run as people run them: behind real servers, by a JWKS over TLS."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn

import pytest
from livepin.jose import PrivateKey, b64url_encode
from livepin.jsontext import dump
from livepin.testing import Chain, RecordingServer, TokenIssuer
from livepin.tokens import Algorithm, SigningKey

pytestmark = pytest.mark.no_cover  # processes, each of which would be measured for nothing

HERE = Path(__file__).parents[4]
EXAMPLES = HERE / "examples"
HOST = "api.example.com"
PATIENCE = 60.0  # seconds, on a busy machine


@pytest.fixture
def issuer() -> TokenIssuer:
    """Who issues tokens by the real clock."""
    return TokenIssuer(HOST)


@pytest.fixture
def server(jwks_server: Any) -> RecordingServer:
    """Where the JWKS is."""
    found: RecordingServer = jwks_server()
    return found


@pytest.fixture
def environment(server: RecordingServer, delivery_chain: Chain, tmp_path: Path) -> dict[str, str]:
    """What a process is told: where the JWKS is, and an authority that its system trusts."""
    ca = tmp_path / "ca.pem"
    ca.write_text(delivery_chain.authority.pem)
    url = f"https://localhost:{server.port}/v1/acme/jwks.json"
    return {**os.environ, "JWKS": url, "SSL_CERT_FILE": str(ca), "NODE_EXTRA_CA_CERTS": str(ca)}


def bad_tokens(issuer: TokenIssuer) -> dict[str, str]:
    """Return tokens that every backend refuses, by what is wrong with them."""
    key = issuer.key
    decoy = SigningKey(key.kid, Algorithm.ES256, PrivateKey.generate())
    day = datetime.now(timezone.utc) - timedelta(days=1)
    public = json.dumps(key.public().jwk()).encode()
    return {
        "another API's": issuer.token(audience="bank.example.com"),
        "a decoy": issuer.token(key=decoy),
        "yesterday's": issuer.token(issued=day, expires=day + timedelta(minutes=5)),
        "tomorrow's": issuer.token(
            issued=day + timedelta(days=2), expires=day + timedelta(days=2, minutes=5)
        ),
        "an endless one": without_end(issuer),
        "one by a key that nobody has": issuer.token(
            key=SigningKey("unknown", Algorithm.ES256, PrivateKey.generate())
        ),
        "one by the public key as a secret": issuer.token(
            key=SigningKey(key.kid, Algorithm.HS256, public)
        ),
        "no token": "x.y.z",
    }


def without_end(issuer: TokenIssuer) -> str:
    members = json.loads(issuer.claims().payload())
    del members["exp"]
    header = {"alg": "ES256", "kid": issuer.key.kid, "typ": "JWT"}
    data = b64url_encode(dump(header)) + b"." + b64url_encode(dump(members))
    return (data + b"." + b64url_encode(issuer.key.sign(data))).decode()


# -- servers -----------------------------------------------------------------------------------


class Unix(http.client.HTTPConnection):
    """HTTP over a socket in the folder of the test, whose name nobody else has."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(str(self._path))


def ask(path: Path, *fields: tuple[str, str], where: str = "/") -> tuple[int, dict[str, str], str]:
    """Send a request; return status, header fields and body."""
    with contextlib.closing(Unix(path)) as connection:
        connection.putrequest("GET", where)
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders()
        found = connection.getresponse()
        headers = {name.lower(): value for name, value in found.getheaders()}
        return found.status, headers, found.read().decode()


Run = Callable[..., AbstractContextManager[None]]


@pytest.fixture
def run(environment: dict[str, str], tmp_path: Path) -> Run:
    """Run a program until it listens at a socket, and end it afterwards."""

    @contextlib.contextmanager
    def one(command: list[Any], path: Path, **options: Any) -> Iterator[None]:
        log = tmp_path / f"{path.name}.log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [str(each) for each in command],
                cwd=tmp_path,
                env=environment,
                stdout=file,
                stderr=file,
                **options,
            )
        try:
            deadline = time.monotonic() + PATIENCE
            while not listens(path):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
            yield
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)

    return one


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.connect(str(path))
        except OSError:
            return False
        return True


def uvicorn(app: str, path: Path, *options: str, python: Any = sys.executable) -> list[Any]:
    where = ["--app-dir", EXAMPLES, "--uds", path, "--no-access-log"]
    return [python, "-m", "uvicorn", *where, *options, app]


def flask(app: str, path: Path) -> list[Any]:
    where = EXAMPLES / f"{app}.py"
    return [sys.executable, "-m", "flask", "--app", where, "run", "--host", f"unix://{path}"]


def needs(*libraries: str) -> None:
    for each in libraries:
        if importlib.util.find_spec(each) is None:
            pytest.skip(f"the livepin wheel alone brings no {each}")


Protects = Callable[[list[Any], Path], None]


@pytest.fixture
def protects(run: Run, issuer: TokenIssuer, server: RecordingServer) -> Protects:
    """Expect that a backend which is started so lets good tokens in, and no others."""

    def one(command: list[Any], path: Path) -> None:
        with run(command, path):
            _expect(issuer, path)
        assert server.requests == 1, "one fetch, an unknown key within a minute included"

    return one


def _expect(issuer: TokenIssuer, path: Path) -> None:
    good = ("Livepin-Token", issuer.token())
    status, _, body = ask(path, good)
    assert (status, body) == (200, issuer.claims().installation)
    for what, token in bad_tokens(issuer).items():
        status, headers, body = ask(path, ("Livepin-Token", token))
        assert (status, json.loads(body)["status"]) == (401, 401), what
        assert headers["www-authenticate"] == "Livepin-Token"
    assert ask(path)[0] == 401
    assert ask(path, good, good)[0] == 401
    assert ask(path, where="/healthz")[::2] == (200, "well")
    assert ask(path, where="/nowhere")[0] in (401, 404)
    assert ask(path, good, where="/nowhere")[0] == 404


@pytest.mark.parametrize(
    ("framework", "command"),
    [
        ("starlette", uvicorn),
        ("litestar", uvicorn),
        ("django", uvicorn),
        ("flask", flask),
    ],
)
def test_a_framework(
    framework: str, command: Callable[..., list[Any]], protects: Protects, tmp_path: Path
) -> None:
    needs(framework, "uvicorn")
    name = f"backend_{framework}"
    application = "application" if framework == "django" else "app"
    path = tmp_path / "s"
    protects(command(f"{name}:{application}" if command is uvicorn else name, path), path)


def test_fastapi(
    protects: Protects,
    environment: dict[str, str],
    missing: Callable[[str], NoReturn],
    tmp_path: Path,
) -> None:
    python = HERE / ".fastapi" / "bin" / "python"
    if not python.exists():
        missing("FastAPI is not here; install it with: .ci/counterparts")
    environment["PYTHONPATH"] = str(HERE / "packages" / "livepin" / "src")
    path = tmp_path / "s"
    protects(uvicorn("backend_fastapi:app", path, python=python), path)


# -- plain libraries ---------------------------------------------------------------------------


@pytest.fixture
def node(counterpart: Callable[[str], str], missing: Any, tmp_path: Path) -> list[Any]:
    """Give the command of the example for Node.js, with jose beside it."""
    modules = HERE / ".jose" / "node_modules"
    if not modules.is_dir():
        missing("jose is not here; install it with: .ci/counterparts")
    shutil.copy(EXAMPLES / "backend_jose.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(modules)
    return [counterpart("node"), tmp_path / "backend_jose.mjs"]


@pytest.fixture(params=["jwt", "joserfc", "jose"])
def plain(request: pytest.FixtureRequest, environment: dict[str, str]) -> list[str]:
    """Give the command of an example that a library alone is enough for."""
    if request.param == "jose":
        command = request.getfixturevalue("node")
    else:
        needs(request.param)
        name = {"jwt": "pyjwt"}.get(request.param, request.param)
        command = [sys.executable, "-u", EXAMPLES / f"backend_{name}.py"]
    return [*map(str, command), environment["JWKS"]]


def test_a_plain_library(
    plain: list[str], environment: dict[str, str], issuer: TokenIssuer
) -> None:
    bad = bad_tokens(issuer)
    lines = [issuer.token(), *bad.values(), issuer.token()]
    done = subprocess.run(
        plain,
        input="".join(f"{line}\n" for line in lines),
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    who = issuer.claims().installation
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n") == [who, *("refused" for _ in bad), who, ""], list(bad)


# What the age of keys is counted by goes ahead by as many seconds as a file says.
_AHEAD_IN_PYTHON = """
import os, runpy, sys, time
real, place = time.monotonic, os.environ["AHEAD"]
time.monotonic = lambda: real() + float(open(place).read())
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
_AHEAD_ON_NODE = """
import { readFileSync } from "node:fs";
const real = Date.now;
Date.now = () => real() + 1000 * Number(readFileSync(process.env.AHEAD));
"""


def test_a_plain_library_refuses_in_five_minutes_what_a_key_signed_that_is_gone(
    plain: list[str],
    environment: dict[str, str],
    issuer: TokenIssuer,
    server: RecordingServer,
    tmp_path: Path,
) -> None:
    """After `token-key rotate --now`; and an unknown key has the JWKS read once in a minute."""
    (tmp_path / "ahead").write_text("0")
    (tmp_path / "ahead.mjs").write_text(_AHEAD_ON_NODE)
    program, *rest = plain
    shifted = ["-u", "-c", _AHEAD_IN_PYTHON, *rest[1:]]
    if program != sys.executable:
        shifted = ["--import", str(tmp_path / "ahead.mjs"), *rest]
    process = subprocess.Popen(
        [program, *shifted],
        env={**environment, "AHEAD": str(tmp_path / "ahead")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )

    def who(token: str, seconds: int) -> str:
        (tmp_path / "ahead").write_text(str(seconds))
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{token}\n")
        return process.stdout.readline().strip()

    with process:
        old, good = issuer.token(), issuer.claims().installation
        assert who(old, 0) == good
        gone = issuer.key.kid
        new = SigningKey("next", Algorithm.ES256, PrivateKey.generate())
        issuer.keys[new.kid] = new
        del issuer.keys[gone]
        assert who(old, 290) == good
        assert server.requests == 1
        assert who(old, 301) == "refused"
        assert who(issuer.token(), 301) == good
        assert server.requests == 2
        unknown = issuer.token(key=SigningKey("x", Algorithm.ES256, PrivateKey.generate()))
        assert [who(unknown, 301 + each) for each in (1, 50)] == ["refused", "refused"]
        assert server.requests == 2
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(PATIENCE) == 0


# -- gateways ----------------------------------------------------------------------------------


class Behind(ThreadingHTTPServer):
    """A backend that checks nothing: it tells who asks, as the gateway says."""

    address_family = socket.AF_UNIX

    def __init__(self, path: Path) -> None:
        self.asked = 0
        super().__init__(str(path), _Tells)  # type: ignore[arg-type]

    def server_bind(self) -> None:
        self.socket.bind(self.server_address)

    def __enter__(self) -> Behind:
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Tells(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked += 1  # type: ignore[attr-defined]
        body = ",".join(self.headers.get_all("Livepin-Installation") or []).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def check_gateway(
    path: Path, behind: Behind, issuer: TokenIssuer, *, refusals: tuple[int, ...] = (401,)
) -> None:
    """Check that a gateway lets through who has a token, says who it is, and refuses others."""
    forged = ("Livepin-Installation", "somebody else")
    good = ("Livepin-Token", issuer.token())
    assert ask(path, good, forged)[::2] == (200, issuer.claims().installation)
    assert behind.asked == 1
    for what, token in bad_tokens(issuer).items():
        assert ask(path, ("Livepin-Token", token), forged)[0] in refusals, what
    assert ask(path, forged)[0] == 401
    bad = ("Livepin-Token", bad_tokens(issuer)["another API's"])
    for two in ((good, bad), (bad, good)):
        assert ask(path, *two)[0] in refusals
    assert behind.asked == 1
    assert ask(path, good, where="/a/b?c")[0] == 200


def replaced(text: str, **places: tuple[str, str]) -> str:
    """Return an example with the places of this machine."""
    for old, new in places.values():
        assert old in text
        text = text.replace(old, new)
    return text


def test_nginx(
    run: Run, counterpart: Callable[[str], str], issuer: TokenIssuer, tmp_path: Path
) -> None:
    needs("uvicorn")
    program = counterpart("nginx")
    gateway, check, behind = (tmp_path / name for name in "gcb")
    server = replaced(
        (EXAMPLES / "gateway_nginx.conf").read_text(),
        listen=("127.0.0.1:8000", f"unix:{gateway}"),
        check=("127.0.0.1:8001", f"unix:{check}"),
        backend=("127.0.0.1:8002", f"unix:{behind}"),
    )
    folders = "".join(
        f"{kind}_temp_path {tmp_path}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf = tmp_path / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # the sockets are in a folder of ours
    conf.write_text(
        f"{user} daemon off; worker_processes 1; pid {tmp_path}/pid; events {{}}\n"
        f"http {{ access_log off; {folders}\n{server} }}"
    )
    command = [program, "-c", conf, "-e", tmp_path / "error.log"]
    with ExitStack() as stack:
        backend = stack.enter_context(Behind(behind))
        stack.enter_context(run(command, gateway))
        assert ask(gateway, ("Livepin-Token", issuer.token()))[0] >= 500, (
            "who is to be asked is away, so nobody passes"
        )
        lifespan = ["--lifespan", "off"]
        with run(uvicorn("gateway_check:app", check, *lifespan), check):
            check_gateway(gateway, backend, issuer)
            status, headers, _ = ask(gateway)
            assert (status, headers["www-authenticate"]) == (401, "Livepin-Token")
            good = ("Livepin-Token", issuer.token())
            assert ask(gateway, good, good)[0] == 401
            assert ask(gateway, where="/livepin")[0] == 404, "it is not for clients"


def test_envoy(
    run: Run,
    counterpart: Callable[[str], str],
    issuer: TokenIssuer,
    server: RecordingServer,
    environment: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program = counterpart("envoy")
    gateway, behind = tmp_path / "g", tmp_path / "b"
    socket_of = "{{socket_address: {{address: 127.0.0.1, port_value: {}}}}}".format
    text = replaced(
        (EXAMPLES / "gateway_envoy.yaml").read_text(),
        listen=(socket_of(8000), f"{{pipe: {{path: {gateway}}}}}"),
        backend=(socket_of(8002), f"{{pipe: {{path: {behind}}}}}"),
        pins=(
            "address: pins.example.com, port_value: 443",
            f"address: 127.0.0.1, port_value: {server.port}",
        ),
        ca=("/etc/ssl/certs/ca-certificates.crt", environment["SSL_CERT_FILE"]),
        name=("exact: pins.example.com", "exact: localhost"),
    )
    file = tmp_path / "envoy.yaml"
    file.write_text(text)
    command = [program, "-c", file, "--use-dynamic-base-id", "--concurrency", "1"]
    with Behind(behind) as backend, run(command, gateway):
        with monkeypatch.context() as patch:
            patch.setattr(issuer, "jwks", lambda: b"away")
            assert ask(gateway, ("Livepin-Token", issuer.token()))[0] == 401
        # 403 is what it says of a token for another audience.
        check_gateway(gateway, backend, issuer, refusals=(401, 403))
