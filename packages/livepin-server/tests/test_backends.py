"""Tokens of a running server, as an app gets them, at backends: with our middleware and without.

The keys are those of the server's JWKS, over TLS, and secrets that the command has exported.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import ssl
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import joserfc.errors
import joserfc.jwt
import jwt
import livepin
import pytest
from joserfc.jwk import KeySet, OctKey
from livepin.bootstrap import Bootstrap
from livepin.client import Token
from livepin.jose import PrivateKey
from livepin.middleware.check import RefusedError, Request, TokenCheck
from livepin.middleware.keys import RemoteKeys
from livepin.testing import FakeClock
from livepin.tokens import installation_id
from livepin_server import folder
from livepin_server.cli.app import main
from livepin_server.folder import Plan
from livepin_server.listener import available_port
from livepin_server.lock import holding
from livepin_server.services.model import Area, Intent, NewDomain, NewPin, Role
from livepin_server.settings import Settings

ROOT = Path(__file__).parents[3]
INTENT = Intent(author="bob")
PATIENCE = 60.0  # seconds, on a busy machine
PIN = NewPin(sha256=f"sha256/{'A' * 43}=")
LOGIN = "Bearer abc"


@dataclass(frozen=True)
class Api:
    """A host, and how its tokens are made."""

    host: str
    algorithm: str
    secret: bool = False


PUBLIC = Api("public.example.com", "ES256")
QUIET = Api("quiet.example.com", "EdDSA")
SECRET = Api("secret.example.com", "HS256", secret=True)
APPROOV = Api("approov.example.com", "HS256", secret=True)


@dataclass
class World:
    """A running server, what backends have of it, and an app that passes beside one that does not.

    `good` and `decoys` are the tokens of either app by host.
    """

    server: Any
    clock: FakeClock
    bootstrap: Bootstrap
    data: Path
    credential: str
    secrets: dict[str, str] = field(default_factory=dict)
    good: dict[str, Token] = field(default_factory=dict)
    decoys: dict[str, Token] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the JWKS is."""
        return f"https://localhost:{self.server.ports['delivery']}/v1/acme/jwks.json"

    @property
    def ca(self) -> Path:
        """The authority of its server."""
        return self.data / "tls" / "ca.pem"

    def ask(self, key: PrivateKey, *hosts: str) -> dict[str, Token]:
        """Return the tokens that an app gets which holds a key, bound where that is looked at."""
        with livepin.Client(
            self.bootstrap, installation=key, push=False, reports=False, clock=self.clock
        ) as app:
            found = {
                host: app.token(host, LOGIN if host == APPROOV.host else None) for host in hosts
            }
        assert all(each.value for each in found.values()), found
        return found


def command(data: Path, *arguments: object) -> None:
    """Run an operator's command."""
    assert main([*map(str, arguments), "--data", str(data), "--json"]) == 0


def make_folder(data: Path) -> Bootstrap:
    """Make a data folder whose domains are those above, by keys as operators make them."""
    port = available_port("127.0.0.1", 0)
    settings = Settings(
        delivery_urls=[f"https://localhost:{port}"],
        delivery_host="127.0.0.1",
        delivery_port=port,
        management_port=0,
    )
    plan = Plan(data=data, account="acme", settings=settings, root_key=None, passphrase=None)
    folder.initialise(plan, clock=now)
    with folder.opened(data, {}, clock=now, look=unseen) as found:
        for each in (PUBLIC, QUIET, SECRET, APPROOV):
            new = NewDomain(pattern=each.host, pins=[PIN], token=True)
            found.services.domains.add("acme", new, INTENT)
        return found.services.published.bootstrap("acme", "main")


def now() -> datetime:
    return datetime.now(timezone.utc)


def unseen(targets: Any) -> dict[Any, list[Any]]:
    """Look at no endpoint: these hosts do not exist."""
    return {each: [] for each in targets}


Serve = Callable[..., AbstractContextManager[Any]]


@contextmanager
def served(serving: Serve, data: Path, bootstrap: Bootstrap) -> Iterator[World]:
    """Run the server, by a clock that stands still from now on."""
    clock = FakeClock(now())
    with holding(data), serving(data, clock=clock) as server:
        _, credential = server.services.api_keys.create(
            "backend", Role.VIEWER, "acme", INTENT, scopes=[Area.TOKENS]
        )
        yield World(server, clock, bootstrap, data, credential)


@pytest.fixture(scope="module")
def world(serving: Serve, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A server, and tokens for each API: of one app, and of one that is blocked."""
    place = tmp_path_factory.mktemp("backends")
    data, own, blocked = place / "data", PrivateKey.generate(), PrivateKey.generate()
    bootstrap = make_folder(data)
    command(data, "token-key", "add", "quiet", "--alg", "Ed25519")
    command(data, "token", "set", QUIET.host, "--key", "quiet")
    for name, each, profile in (("s", SECRET, "livepin"), ("a", APPROOV, "approov")):
        command(data, "token-key", "add", name, "--alg", "HS256", "--domain", each.host)
        command(data, "token", "set", each.host, "--key", name, "--profile", profile)
        command(data, "token-key", "export", name, "--out", place / each.host)
    identity = installation_id("acme", blocked.public.kid)
    command(data, "installation", "block", identity, "--reason", "a test")
    with served(serving, data, bootstrap) as found:
        hosts = [each.host for each in (PUBLIC, QUIET, SECRET, APPROOV)]
        found.secrets = {each.host: (place / each.host).read_text() for each in (SECRET, APPROOV)}
        found.good, found.decoys = found.ask(own, *hosts), found.ask(blocked, *hosts)
        yield found


# -- by whom ---------------------------------------------------------------------------------------

# It returns the claims of a token, or the name of the error that refuses it. Without an audience
# none is looked at.
Check = Callable[[World, Api, str, "str | None"], "dict[str, Any] | str"]


def by_livepin(world: World, api: Api, token: str, audience: str | None) -> dict[str, Any] | str:
    keys: dict[str, Any] = {"secret": world.secrets[api.host]} if api.secret else {
        "jwks": world.url, "ca": world.ca.read_text(), "credential": world.credential,
    }  # fmt: skip
    check = TokenCheck(audience=audience or api.host, **keys)
    try:
        claims = check.check(Request(method="GET", path="/", values=lambda _: [token]))
    except RefusedError as exc:
        return exc.reason
    return {"did": claims.installation, "aud": claims.audience}


def by_pyjwt(world: World, api: Api, token: str, audience: str | None) -> dict[str, Any] | str:
    key: Any
    if api.secret:
        key = base64.b64decode(world.secrets[api.host])
    else:
        headers = {"Authorization": f"Bearer {world.credential}"}
        context = ssl.create_default_context(cafile=world.ca)
        client = jwt.PyJWKClient(world.url, headers=headers, ssl_context=context)
        key = client.get_signing_key_from_jwt(token)
    required = {"require": ["exp"] if audience is None else ["exp", "aud"]}
    try:
        found: dict[str, Any] = jwt.decode(
            token, key, algorithms=[api.algorithm], audience=audience, options=required
        )
    except jwt.PyJWTError as exc:
        return type(exc).__name__
    return found


def by_joserfc(world: World, api: Api, token: str, audience: str | None) -> dict[str, Any] | str:
    key: Any
    if api.secret:
        key = OctKey.import_key(base64.b64decode(world.secrets[api.host]))
    else:
        answer = world.server.send("GET", "/v1/acme/jwks.json", key=world.credential)
        key = KeySet.import_key_set(answer.json())
    expected: dict[str, Any] = {"exp": {"essential": True}}
    if audience is not None:
        expected["aud"] = {"essential": True, "value": audience}
    try:
        with warnings.catch_warnings():
            # It would rather have the name Ed25519 (RFC 9864), which others do not know yet.
            warnings.simplefilter("ignore", joserfc.errors.SecurityWarning)
            found = joserfc.jwt.decode(token, key, algorithms=[api.algorithm])
        joserfc.jwt.JWTClaimsRegistry(**expected).validate(found.claims)
    except joserfc.errors.JoseError as exc:
        return type(exc).__name__
    return found.claims


_JOSE = """
import { createInterface } from "node:readline";
import { createRemoteJWKSet, jwtVerify } from "jose";

for await (const line of createInterface({ input: process.stdin })) {
  const { url, credential, secret, token, algorithm, audience } = JSON.parse(line);
  const headers = { Authorization: `Bearer ${credential}` };
  const key = secret
    ? Buffer.from(secret, "base64")
    : createRemoteJWKSet(new URL(url), { headers });
  const options = { algorithms: [algorithm], requiredClaims: ["exp"] };
  if (audience) options.audience = audience;
  const found = await jwtVerify(token, key, options).catch((error) => ({ payload: error.code }));
  console.log(JSON.stringify(found.payload));
}
"""


@pytest.fixture(scope="module")
def jose(missing: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which Node.js finds jose."""
    modules, place = ROOT / ".jose" / "node_modules", tmp_path_factory.mktemp("jose")
    if not modules.is_dir():
        missing("jose is not here; install it with: .ci/counterparts")
    (place / "node_modules").symlink_to(modules)
    return place


@pytest.fixture(scope="module")
def by_jose(counterpart: Callable[[str], str], world: World, jose: Path) -> Iterator[Check]:
    (jose / "check.mjs").write_text(_JOSE)
    process = subprocess.Popen(
        [counterpart("node"), jose / "check.mjs"],
        env={**os.environ, "NODE_EXTRA_CA_CERTS": str(world.ca)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def one(world: World, api: Api, token: str, audience: str | None) -> dict[str, Any] | str:
        said = {
            "url": world.url, "credential": world.credential, "secret": world.secrets.get(api.host),
            "token": token, "algorithm": api.algorithm, "audience": audience,
        }  # fmt: skip
        stdin.write(f"{json.dumps(said)}\n")
        found: dict[str, Any] | str = json.loads(stdout.readline())
        return found

    with process:
        yield one
        stdin.close()
        assert process.wait(PATIENCE) == 0


@pytest.fixture
def checks(request: pytest.FixtureRequest) -> Callable[[str], tuple[Check, str]]:
    """Give what checks by the name of a library, and what it says of a wrong signature."""

    def one(library: str) -> tuple[Check, str]:
        if library == "jose":
            by_jose: Check = request.getfixturevalue("by_jose")
            return by_jose, "ERR_JWS_SIGNATURE_VERIFICATION_FAILED"
        return {
            "livepin": (by_livepin, "signature"),
            "jwt": (by_pyjwt, "InvalidSignatureError"),
            "joserfc": (by_joserfc, "BadSignatureError"),
        }[library]

    return one


# -- tokens --------------------------------------------------------------------------------------


@pytest.mark.parametrize("library", ["livepin", "jwt", "joserfc", "jose"])
@pytest.mark.parametrize("api", [PUBLIC, QUIET, SECRET], ids=lambda api: api.algorithm)
def test_a_backend_takes_what_an_app_gets_and_refuses_a_decoy(
    world: World, checks: Any, library: str, api: Api
) -> None:
    check, wrong_signature = checks(library)
    good, decoy = (each[api.host] for each in (world.good, world.decoys))
    assert (good.header, decoy.header) == ("Livepin-Token", "Livepin-Token")
    said = check(world, api, good.value, api.host)
    assert said["aud"] == api.host
    assert said["did"] == jwt.decode(good.value, options={"verify_signature": False})["did"]
    assert check(world, api, decoy.value, api.host) == wrong_signature
    assert isinstance(check(world, api, good.value, "bank.example.com"), str), "another audience"


@pytest.mark.parametrize("library", ["jwt", "joserfc", "jose"])
def test_a_backend_that_checks_tokens_of_approov_takes_ours(
    world: World, checks: Any, library: str
) -> None:
    """As its published quickstarts: the secret in base64, HS256, `exp`, and `pay` of a header."""
    check, wrong_signature = checks(library)
    good, decoy = (each[APPROOV.host] for each in (world.good, world.decoys))
    assert (good.header, decoy.header) == ("Approov-Token", "Approov-Token")
    assert jwt.get_unverified_header(good.value) == {"alg": "HS256", "typ": "JWT"}
    said = check(world, APPROOV, good.value, None)
    bound = base64.b64encode(hashlib.sha256(LOGIN.encode()).digest()).decode()
    assert said.keys() == {"exp", "did", "pay"}
    assert said["pay"] == bound
    assert check(world, APPROOV, decoy.value, None) == wrong_signature


def test_a_secret_is_exported_as_one_line_of_base64(world: World) -> None:
    for text in world.secrets.values():
        assert text.count("\n") == 1
        assert len(base64.b64decode(text.strip(), validate=True)) == 64


def test_our_own_middleware_takes_no_token_without_an_audience(world: World) -> None:
    assert by_livepin(world, APPROOV, world.good[APPROOV.host].value, None) == "malformed"


def test_keys_for_backends_are_not_given_to_others(world: World) -> None:
    others = World(world.server, world.clock, world.bootstrap, world.data, "x")
    with pytest.raises(jwt.PyJWKClientError):
        by_pyjwt(others, QUIET, world.good[QUIET.host].value, QUIET.host)
    assert by_livepin(others, QUIET, world.good[QUIET.host].value, QUIET.host) == "no-keys"


@pytest.mark.parametrize("example", ["backend_pyjwt.py", "backend_joserfc.py", "backend_jose.mjs"])
def test_the_published_examples_take_them(
    world: World, request: pytest.FixtureRequest, tmp_path: Path, example: str
) -> None:
    text = (ROOT / "examples" / example).read_text()
    assert "api.example.com" in text
    place, program = tmp_path, sys.executable
    if example.endswith(".mjs"):
        place = request.getfixturevalue("jose")
        program = request.getfixturevalue("counterpart")("node")
    (place / example).write_text(text.replace("api.example.com", PUBLIC.host))
    ca = str(world.ca)
    done = subprocess.run(
        [program, place / example, world.url],
        input="".join(f"{each[PUBLIC.host].value}\n" for each in (world.good, world.decoys)),
        env={**os.environ, "NODE_EXTRA_CA_CERTS": ca, "SSL_CERT_FILE": ca},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    own = jwt.decode(world.good[PUBLIC.host].value, options={"verify_signature": False})["did"]
    assert done.stdout.split() == [own, "refused"], done.stderr


# -- keys that come and go -----------------------------------------------------------------------


class Rotated:
    """A backend with our middleware, and an app, while the operator changes the key `main`."""

    def __init__(self, world: World, until: Callable[[Callable[[], Any]], None]) -> None:
        self.world, self._until = world, until
        self.key = PrivateKey.generate()
        keys = RemoteKeys(
            world.url, ca=world.ca.read_text(), clock=lambda: world.clock().timestamp()
        )
        self._check = TokenCheck(audience=PUBLIC.host, jwks=keys, clock=world.clock)

    def token(self) -> str:
        """Return a token of now."""
        return self.world.ask(self.key, PUBLIC.host)[PUBLIC.host].value

    def outcome(self, token: str) -> str:
        """Return what the backend says of a token."""
        try:
            self._check.check(Request(method="GET", path="/", values=lambda _: [token]))
        except RefusedError as exc:
            return exc.reason
        return "taken"

    def rotate(self, *options: str) -> None:
        """Change the key, and wait until the JWKS has it."""
        before = self.kids()
        command(self.world.data, "token-key", "rotate", "main", *options)
        self._until(lambda: self.kids() - before)

    def kids(self) -> set[str]:
        """Return the keys in the JWKS."""
        answer = self.world.server.send("GET", "/v1/acme/jwks.json")
        return {each["kid"] for each in answer.json()["keys"]}


@pytest.fixture
def rotated(
    serving: Serve, tmp_path: Path, until: Callable[[Callable[[], Any]], None]
) -> Iterator[Rotated]:
    data = tmp_path / "data"
    with served(serving, data, make_folder(data)) as found:
        yield Rotated(found, until)


def test_a_backend_refuses_nothing_while_the_key_changes(rotated: Rotated) -> None:
    clock = rotated.world.clock
    (old,) = rotated.kids()
    assert rotated.outcome(rotated.token()) == "taken"
    rotated.rotate()
    (new,) = rotated.kids() - {old}
    clock.advance(seconds=595)  # the next one signs in ten minutes
    before = rotated.token()
    assert jwt.get_unverified_header(before)["kid"] == old
    clock.advance(seconds=10)
    after = rotated.token()
    assert jwt.get_unverified_header(after)["kid"] == new
    assert [rotated.outcome(each) for each in (before, after)] == ["taken", "taken"]
    clock.advance(seconds=290)  # as long as the last token of the old key lives
    assert rotated.kids() == {old, new}
    assert rotated.outcome(before) == "taken"
    clock.advance(seconds=20)
    assert rotated.kids() == {new}
    assert rotated.outcome(before) == "unknown-key"
    assert rotated.outcome(rotated.token()) == "taken"


def test_a_backend_refuses_within_five_minutes_what_a_stolen_key_signed(rotated: Rotated) -> None:
    clock = rotated.world.clock
    stolen = rotated.token()
    assert rotated.outcome(stolen) == "taken"
    clock.advance(seconds=1)
    rotated.rotate("--now", "--reason", "it was stolen")
    assert rotated.outcome(stolen) == "taken", "the keys of the backend are of before"
    clock.advance(seconds=298)
    assert rotated.outcome(stolen) == "taken"
    clock.advance(seconds=1)
    assert rotated.outcome(stolen) == "unknown-key", "a token that would live on"
    assert rotated.outcome(rotated.token()) == "taken"
