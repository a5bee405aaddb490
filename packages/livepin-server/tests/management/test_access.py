"""Who may do what: every route with every key, and the accounts of others.

The table says for each route what a key of each role is answered: one of the account `acme` that
the path names, one of the other account `beta`, one for the whole server. What holds for all routes
alike stands beside it: with scopes that hold none of the areas of a route a key is refused (403),
whatever its role; without a valid key everybody is (401).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from litestar.routes import HTTPRoute
from livepin_server.management.app import build_app, build_watching_app
from livepin_server.services.model import Area, Intent, Role
from livepin_server.telemetry.metrics import Metrics
from livepin_server.web.auth import PUBLIC, areas_of

pytestmark = pytest.mark.no_cover  # each route by each key: what it answers has tests of its own

INTENT = Intent(author="bob")
DIGEST = "A" * 43
PAST = {"expires": "2000-01-01T00:00:00Z"}
PIN = {"sha256": f"sha256/{DIGEST}="}

# `~` is /v1/accounts/{account}. Then the answer to who may, and the areas of the route. Then four
# letters each for a key of acme, of beta, for the whole server: what pentest, viewer, operator and
# admin are answered. y: as who may; -: 403; 0: 404, the account does not exist.
TABLE = """
GET     /v1/whoami                        200  any                  yyyy  yyyy  yyyy
GET     /v1/status                        200  server               -yyy  -yyy  -yyy
GET     /v1/accounts                      200  accounts,server      -yyy  -yyy  -yyy
POST    ~/prepare                         422  accounts             ----  ----  ---y
GET     ~/root                            200  root                 -yyy  -000  -yyy
POST    ~/root/prepare                    409  root                 ---y  ---0  ---y
POST    ~/root/sign                       422  root                 ---y  ---0  ---y
POST    ~/root/publish                    422  root                 ---y  ---0  ---y
POST    /v1/custody/rekey                 200  root                 ----  ----  ---y
PUT     ~/root                            422  accounts             ----  ----  ---y
GET     ~/delivery                        200  delivery             -yyy  -000  -yyy
PUT     ~/delivery                        422  delivery             ---y  ---0  ---y
GET     ~/domains                         200  domains,pins,streams -yyy  -000  -yyy
POST    ~/domains                         422  domains              --yy  --00  --yy
GET     ~/domains/{pattern}               404  domains,pins,streams -yyy  -000  -yyy
DELETE  ~/domains/{pattern}               404  domains              --yy  --00  --yy
PATCH   ~/domains/{pattern}/settings      404  domains              --yy  --00  --yy
PUT     ~/domains/{pattern}/pin-set       404  pins                 --yy  --00  --yy
POST    ~/domains/{pattern}/pins          404  pins                 --yy  --00  --yy
DELETE  ~/domains/{pattern}/pins/{digest} 404  pins                 --yy  --00  --yy
GET     ~/pin-sets                        200  domains,pins,streams -yyy  -000  -yyy
POST    ~/pin-sets                        422  pins                 --yy  --00  --yy
GET     ~/pin-sets/{name}                 404  domains,pins,streams -yyy  -000  -yyy
DELETE  ~/pin-sets/{name}                 404  pins                 --yy  --00  --yy
PUT     ~/pin-sets/{name}/pins            404  pins                 --yy  --00  --yy
GET     ~/streams                         200  streams              -yyy  -000  -yyy
POST    ~/streams                         409  streams              ---y  ---0  ---y
POST    ~/streams/{stream}/domains        404  streams              --yy  --00  --yy
GET     ~/configs                         200  configs              -yyy  -000  -yyy
GET     ~/configs/{version}               200  configs              -yyy  -000  -yyy
GET     ~/configs/{version}/diff/{other}  200  configs              -yyy  -000  -yyy
GET     ~/documents                       200  configs              -yyy  -000  -yyy
POST    ~/versions                        422  configs              ---y  ---0  ---y
POST    /v1/backups                       200  server               ----  ----  ---y
POST    ~/configs/{version}/restore       422  configs              --yy  --00  --yy
GET     ~/stages                          200  configs              -yyy  -000  -yyy
GET     ~/stages/{number}/trial           404  configs              -yyy  -000  -yyy
POST    ~/stages/{number}/publish         404  configs              --yy  --00  --yy
DELETE  ~/stages/{number}                 404  configs              --yy  --00  --yy
GET     ~/guards                          200  accounts             -yyy  -000  -yyy
PUT     ~/guards                          409  accounts             ---y  ---0  ---y
GET     ~/audit                           200  audit                -yyy  -000  -yyy
GET     ~/audit/entries                   200  audit                -yyy  -000  -yyy
GET     ~/audit/signed                    200  audit                -yyy  -000  -yyy
GET     /v1/audit                         200  audit                ----  ----  -yyy
GET     /v1/audit/entries                 200  audit                ----  ----  -yyy
GET     ~/bootstrap                       200  configs              -yyy  -000  -yyy
POST    ~/probes                          422  probes               --yy  --00  --yy
GET     ~/api-keys                        200  keys                 ---y  ---0  ---y
POST    ~/api-keys                        422  keys                 ---y  ---0  ---y
GET     ~/api-keys/{key_id}               404  keys                 ---y  ---0  ---y
DELETE  ~/api-keys/{key_id}               404  keys                 ---y  ---0  ---y
POST    ~/api-keys/{key_id}/rotate        404  keys                 ---y  ---0  ---y
GET     /v1/api-keys                      200  keys                 ----  ----  ---y
POST    /v1/api-keys                      404  keys                 ----  ----  ---y
GET     /v1/api-keys/{key_id}             404  keys                 ----  ----  ---y
DELETE  /v1/api-keys/{key_id}             404  keys                 ----  ----  ---y
POST    /v1/api-keys/{key_id}/rotate      404  keys                 ----  ----  ---y
GET     ~/token-keys                      200  tokens               -yyy  -000  -yyy
POST    ~/token-keys                      422  tokens               ---y  ---0  ---y
POST    ~/token-keys/{name}/rotate        404  tokens               ---y  ---0  ---y
POST    ~/token-keys/{name}/export        404  tokens               ---y  ---0  ---y
GET     ~/tokens                          200  tokens               -yyy  -000  -yyy
PATCH   ~/tokens                          200  tokens               ---y  ---0  ---y
PATCH   ~/tokens/{pattern}                404  tokens               ---y  ---0  ---y
POST    ~/tokens/check                    200  tokens               -yyy  -000  -yyy
POST    ~/tokens/example                  404  tokens               ---y  ---0  ---y
GET     ~/installations                   200  installations        -yyy  -000  -yyy
GET     ~/installations/{installation}    404  installations        -yyy  -000  -yyy
PUT     ~/installations/{installation}/tags 404  installations      --yy  --00  --yy
PUT     ~/installations/{installation}/rule 422  installations      --yy  --00  --yy
PUT     ~/installations/{installation}/pass 422  installations      ---y  ---0  ---y
DELETE  ~/installations/{installation}/rule 404  installations      --yy  --00  --yy
GET     ~/installations/{installation}/appraisal 404 installations   -yyy  -000  -yyy
GET     ~/policy                          200  installations        -yyy  -000  -yyy
GET     ~/policy/versions                 200  installations        -yyy  -000  -yyy
POST    ~/policy/effect                   200  installations        -yyy  -000  -yyy
PUT     ~/policy                          409  installations        ---y  ---0  ---y
GET     ~/overrides                       200  installations        yyyy  0000  yyyy
POST    ~/overrides                       422  installations        y-yy  0-00  y-yy
DELETE  ~/overrides/{override}            404  installations        y-yy  0-00  y-yy
GET     ~/apps                            200  installations        -yyy  -000  -yyy
POST    ~/apps                            422  installations        ---y  ---0  ---y
GET     ~/apps/{name}                     404  installations        -yyy  -000  -yyy
PATCH   ~/apps/{name}/identities          422  installations        ---y  ---0  ---y
DELETE  ~/apps/{name}                     404  installations        ---y  ---0  ---y
GET     ~/apps/{name}/releases            404  installations        -yyy  -000  -yyy
POST    ~/apps/{name}/releases            422  installations        ---y  ---0  ---y
DELETE  ~/apps/{name}/releases/{version}  404  installations        ---y  ---0  ---y
GET     ~/monitor                         200 monitor              -yyy  -000  -yyy
POST    ~/monitor/looks                   200 monitor              --yy  --00  --yy
GET     ~/monitor/settings                200 monitor              -yyy  -000  -yyy
PATCH   ~/monitor/settings/{pattern}      404 monitor              --yy  --00  --yy
GET     ~/monitor/history/{pattern}       404 monitor              -yyy  -000  -yyy
GET     ~/monitor/incidents               200 monitor              -yyy  -000  -yyy
GET     ~/monitor/incidents/{incident}    404 monitor              -yyy  -000  -yyy
POST    ~/monitor/incidents/{incident}/acknowledge 404 monitor              --yy  --00  --yy
POST    ~/monitor/incidents/{incident}/snooze 404 monitor              --yy  --00  --yy
GET     ~/monitor/maintenance             200 monitor              -yyy  -000  -yyy
POST    ~/monitor/maintenance             404 monitor              --yy  --00  --yy
DELETE  ~/monitor/maintenance/{window}    404 monitor              --yy  --00  --yy
GET     ~/monitor/channels                200 monitor              -yyy  -000  -yyy
POST    ~/monitor/channels                422 monitor              ---y  ---0  ---y
DELETE  ~/monitor/channels/{name}         404 monitor              ---y  ---0  ---y
POST    ~/monitor/channels/{name}/test    404 monitor              --yy  --00  --yy
GET     ~/monitor/channels/{name}/dead    404 monitor              -yyy  -000  -yyy
POST    ~/monitor/channels/{name}/retry   404 monitor              --yy  --00  --yy
GET     ~/monitor/notices/{notice}        404 monitor              -yyy  -000  -yyy
DELETE  /v1/vantages/{vantage}            404  monitor              ----  ----  ---y
GET     /metrics                          200  metrics              ----  ----  -yyy
"""
# What a process that serves delivery alone answers in private.
WATCHING_TABLE = """
GET     /metrics                          200  metrics              ----  ----  -yyy
"""
BODIES = {
    "POST ~/prepare": {"root_keys": [{}]},
    "PUT ~/root": {"document": {}},
    "POST ~/root/prepare": {},
    "POST ~/root/sign": {"payload": "AA"},
    "POST ~/root/publish": {"document": {}},
    "POST /v1/custody/rekey": {},
    "PUT ~/delivery": {"urls": ["ftp://x"]},
    "POST ~/domains": {"pattern": "!", "pins": [PIN]},
    "PATCH ~/domains/{pattern}/settings": {"mode": "off"},
    "PUT ~/domains/{pattern}/pin-set": {"name": None},
    "POST ~/domains/{pattern}/pins": {"pins": [PIN]},
    "POST ~/pin-sets": {"name": "x", "pins": [{"sha256": "x"}]},
    "PUT ~/pin-sets/{name}/pins": {"pins": [PIN]},
    "POST ~/streams": {"name": "main"},
    "POST ~/streams/{stream}/domains": {"pattern": "x.example", "source": "no"},
    "POST ~/configs/{version}/restore": {},
    "POST ~/stages/{number}/publish": {},
    "PUT ~/guards": {},
    "POST ~/versions": {"above": 2**53 - 1},
    "POST /v1/backups": {"recipients": 1, "size": 1, "rows": 1},
    "POST ~/probes": {"host": "!"},
    "POST ~/token-keys": {"name": "x", "algorithm": "HS256"},
    "POST ~/token-keys/{name}/rotate": {},
    "POST ~/token-keys/{name}/export": {},
    "PATCH ~/tokens": {},
    "POST ~/tokens/check": {"token": "x"},
    "POST ~/tokens/example": {"host": "x.example"},
    "PATCH ~/tokens/{pattern}": {"key": "no"},
    "PUT ~/installations/{installation}/tags": {"tags": []},
    "PUT ~/installations/{installation}/rule": {"verdict": "block", "reason": "x", **PAST},
    "PUT ~/installations/{installation}/pass": {"reason": "x", **PAST},
    "POST ~/policy/effect": {"policy": {}},
    "PUT ~/policy": {"policy": {"mode": "report"}},
    "POST ~/overrides": {"installation": "x", "domains": ["!"], "reason": "x"},
    "POST ~/apps": {"name": "a/b"},
    "PATCH ~/apps/{name}/identities": {},
    "POST ~/apps/{name}/releases": {"version": "1", "manifest": ""},
    "POST ~/monitor/looks": {},
    "PATCH ~/monitor/settings/{pattern}": {"every": 60},
    "POST ~/monitor/incidents/{incident}/acknowledge": {},
    "POST ~/monitor/incidents/{incident}/snooze": {"seconds": 60},
    "POST ~/monitor/maintenance": {"pattern": "x.example", "lasts": 60},
    "POST ~/monitor/channels": {"name": "x", "settings": {"kind": "email", "to": ["!"]}},
    "POST ~/monitor/channels/{name}/test": {},
    "POST ~/monitor/channels/{name}/retry": {},
    "POST ~/api-keys": {"name": "a/b", "role": "viewer"},
    "POST ~/api-keys/{key_id}/rotate": {},
    "POST /v1/api-keys": {"name": "x", "role": "viewer", "account": "no"},
    "POST /v1/api-keys/{key_id}/rotate": {},
}
VALUES = {
    "account": "acme", "pattern": "x.example", "digest": DIGEST, "name": "payments",
    "stream": "main", "version": "latest", "key_id": "nobody", "number": "open",
    "other": "latest", "installation": "A" * 22, "override": "9",
    "incident": "9", "window": "9", "notice": "9", "vantage": "eu-west",
}  # fmt: skip
ACCOUNTS = ("acme", "beta", None)
_NETWORKS = itertools.count()
ROLES = (Role.PENTEST, Role.VIEWER, Role.OPERATOR, Role.ADMIN)


class Row:
    """A line of a table."""

    def __init__(self, line: str) -> None:
        self.method, short, status, areas, *self.letters = line.split()
        self.template = short.replace("~", "/v1/accounts/{account}")
        self.path = self.template.format(**VALUES)
        self.body = BODIES.get(f"{self.method} {short}")
        self.status = int(status)
        self.areas = tuple(Area) if areas == "any" else tuple(map(Area, areas.split(",")))

    def __str__(self) -> str:
        return f"{self.method} {self.template}"

    def expected(self) -> Iterator[tuple[Role, str | None, str]]:
        """Return what the table says, key by key."""
        for account, letters in zip(ACCOUNTS, self.letters, strict=True):
            for role, letter in zip(ROLES, letters, strict=True):
                yield role, account, letter

    def path_of(self, account: str) -> str:
        """Return the path with another account in it."""
        return self.template.format(**VALUES | {"account": account})


ROWS = [Row(line) for line in TABLE.strip().splitlines()]
WATCHING_ROWS = [Row(line) for line in WATCHING_TABLE.strip().splitlines()]


class Keys:
    """API keys of every kind, each made when it is first asked for."""

    def __init__(self, services: Any) -> None:
        self._services = services
        self._made: dict[Any, str] = {}

    def key(self, role: Role, account: str | None, scopes: tuple[Area, ...] | None = None) -> str:
        """Return the text of a key."""
        kind = (role, account, scopes)
        if kind not in self._made:
            name = f"key {len(self._made)}"
            self._made[kind] = self._services.api_keys.create(
                name, role, account, INTENT, scopes=scopes
            )[1]
        return self._made[kind]

    def of(self, row: Row) -> Iterator[tuple[str, str, str]]:
        """Return what each key is called, its text, and the letter of what it is answered."""
        for role, account, letter in row.expected():
            called = f"{role.value} of {account or 'the server'}"
            yield called, self.key(role, account), letter
            may_have = [each for each in Area if account is None or each is not Area.METRICS]
            for area in set(row.areas).intersection(may_have):
                yield f"{called} for {area.value}", self.key(role, account, (area,)), letter
            others = tuple(each for each in may_have if each not in row.areas)
            if others:
                yield f"{called} for other areas", self.key(role, account, others), "-"

    def invalid(self) -> dict[str, str]:
        """Return keys that were valid once, of those who might do everything."""
        found, api_keys = {}, self._services.api_keys
        for account in ("acme", None):

            def make(what: str, account: str | None = account, **members: Any) -> Any:
                name = f"{what} of {account}"
                return api_keys.create(name, Role.ADMIN, account, INTENT, **members)

            soon = self._services.clock() + timedelta(minutes=1)
            found[f"expired, {account}"] = make("expired", expires=soon)[1]
            view, found[f"revoked, {account}"] = make("revoked")
            api_keys.revoke(view.id, INTENT)
            view, found[f"rotated at once, {account}"] = make("rotated")
            api_keys.rotate(view.id, INTENT, overlap=timedelta())
            view, found[f"rotated a minute ago, {account}"] = make("overlap")
            api_keys.rotate(view.id, INTENT, overlap=timedelta(minutes=1))
        self._services.clock.advance(minutes=1)
        return found


@pytest.fixture(scope="module")
def keys(two_accounts) -> Keys:
    """Keys of every kind."""
    return Keys(two_accounts.services)


@pytest.fixture(scope="module")
def invalid(keys) -> dict[str, str]:
    """Keys that are valid no more."""
    return keys.invalid()


@pytest.fixture(scope="module")
def management(two_accounts) -> Any:
    """The management application."""
    return build_app(two_accounts.services, Metrics())


@pytest.fixture(scope="module")
def watching(two_accounts) -> Any:
    """The private application of a process that serves delivery alone."""
    services = two_accounts.services
    return build_watching_app(
        services.api_keys, Metrics(), ask_database=two_accounts.folder.published.accounts
    )


def send(app: Any, requests: list[tuple[str, str, Any, dict[str, str]]]) -> list[httpx.Response]:
    """Send requests to an application, one after the other, from an address of their own."""
    address = f"2001:db8:0:{next(_NETWORKS):x}::1"
    transport = httpx.ASGITransport(app=cast("Any", app), client=(address, 1))

    async def all_of_them() -> list[httpx.Response]:
        async with httpx.AsyncClient(transport=transport, base_url="https://x") as client:
            return [
                await client.request(method, path, json=body, headers=headers)
                for method, path, body, headers in requests
            ]

    return asyncio.run(all_of_them())


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def letter_of(row: Row, answer: httpx.Response) -> str:
    """Return the letter of an answer; the answer itself where there is none for it."""
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        detail = answer.json()["detail"]
        if answer.status_code == 403:
            return "-"
        if detail == "there is no account 'acme'":
            return "0"
    return "y" if answer.status_code == row.status else answer.text


def check_keys(app: Any, keys: Keys, row: Row) -> None:
    """Check that a route answers every key as the table says."""
    tried = list(keys.of(row))
    answers = send(app, [(row.method, row.path, row.body, bearer(key)) for _, key, _ in tried])
    found = {tried[at][0]: letter_of(row, answer) for at, answer in enumerate(answers)}
    assert found == {called: letter for called, _, letter in tried}


def check_strangers(app: Any, valid: str, invalid: dict[str, str], row: Row) -> None:
    """Check that a route answers nobody who has no valid key, and all of them alike."""
    tried = [
        {}, {"authorization": ""}, {"authorization": "Bearer"}, {"authorization": f"Basic {valid}"},
        {"authorization": valid}, {"x-api-key": valid}, {"cookie": f"authorization=Bearer {valid}"},
        bearer(f"{valid}x"), bearer(valid[:-1]), bearer("lpk_000000000000_" + "A" * 43),
        bearer(f"{valid} {valid}"), bearer("x" * 300), *map(bearer, invalid.values()),
    ]  # fmt: skip
    assert len(tried) <= 20, "more wrong keys in a row are told to stop"
    answers = send(app, [(row.method, row.path, row.body, headers) for headers in tried])
    assert {(each.status_code, each.headers["www-authenticate"]) for each in answers} == {
        (401, "Bearer")
    }
    assert {each.json()["detail"] for each in answers} == {
        "expected Authorization: Bearer with a valid API key"
    }


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_each_route_is_open_to_whom_the_table_says(management, keys, row: Row) -> None:
    check_keys(management, keys, row)


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_without_a_valid_key_no_route_is_open(management, keys, invalid, row: Row) -> None:
    check_strangers(management, keys.key(Role.ADMIN, None), invalid, row)


@pytest.mark.parametrize("row", WATCHING_ROWS, ids=str)
def test_a_process_that_serves_delivery_alone_holds_to_the_same(
    watching, keys, invalid, row: Row
) -> None:
    check_keys(watching, keys, row)
    check_strangers(watching, keys.key(Role.ADMIN, None), invalid, row)


@pytest.mark.parametrize("path", PUBLIC)
def test_these_are_open_to_all(two_accounts, path: str) -> None:
    assert two_accounts.send("GET", path, to="management").status_code == 200


# -- the table is whole --------------------------------------------------------------------------


def routes_of(app: Any) -> dict[str, Any]:
    """Return the handler of each method and path."""
    return {
        f"{method} {route.path_format}": handler
        for route in app.litestar.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        for method in handler.http_methods
        if method != "OPTIONS"
    }


@pytest.mark.parametrize(
    ("named", "rows", "public"),
    [("management", ROWS, PUBLIC), ("watching", WATCHING_ROWS, PUBLIC[:2])],
)
def test_every_route_has_a_row_a_role_and_areas(request, named, rows, public) -> None:
    found = routes_of(request.getfixturevalue(named))
    for path in public:
        assert "role" not in found.pop(f"GET {path}").opt
    assert sorted(found) == sorted(map(str, rows))
    for row in rows:
        handler = found[str(row)]
        assert isinstance(handler.opt["role"], Role)
        assert areas_of(handler) == row.areas
        assert all(isinstance(area, Area) for area in areas_of(handler))


@pytest.mark.parametrize("method", ["OPTIONS", "HEAD", "TRACE", "PROPFIND"])
def test_other_methods_are_open_to_nobody(two_accounts, method: str) -> None:
    for path in sorted({row.path for row in ROWS}):
        for key in (two_accounts.key(), None):
            answer = two_accounts.send(method, path, to="management", key=key)
            assert answer.status_code in (401, 403, 405, 429), answer.text


# -- other accounts ------------------------------------------------------------------------------


@pytest.mark.parametrize("row", [row for row in ROWS if "0" in row.letters[1]], ids=str)
def test_an_account_of_others_is_answered_as_one_that_there_is_not(
    management, keys, row: Row
) -> None:
    key = bearer(keys.key(Role.ADMIN, "beta"))
    paths = [row.path_of(name) for name in ("acme", "none")]
    theirs, nobodys = send(management, [(row.method, path, row.body, key) for path in paths])
    assert theirs.content.replace(b"acme", b"none") == nobodys.content
    assert theirs.headers == nobodys.headers
    assert theirs.status_code == nobodys.status_code == 404


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "{}"), ("DELETE", "{}"), ("POST", "{}/rotate")]
)
def test_a_key_of_others_is_answered_as_one_that_there_is_not(
    management, two_accounts, keys, method: str, path: str
) -> None:
    api_keys, own = two_accounts.services.api_keys, bearer(keys.key(Role.ADMIN, "beta"))
    for account in ("acme", None):
        named = f"of others {method} {account}"
        view, text = api_keys.create(named, Role.VIEWER, account, INTENT)
        for theirs, nobodys in ((view.id, "0" * 12), (named, named[::-1])):
            paths = ["/v1/accounts/beta/api-keys/" + path.format(k) for k in (theirs, nobodys)]
            first, second = send(management, [(method, each, {}, own) for each in paths])
            assert first.content.replace(theirs.encode(), nobodys.encode()) == second.content
            assert first.status_code == second.status_code == 404
        assert api_keys.verify(text).name == named


def test_a_name_that_another_account_has_is_free(management, two_accounts, keys) -> None:
    """Else the refusal would tell what others call their keys."""
    body = {"name": "nightly", "role": "viewer"}
    for account in ("acme", "beta"):
        key = bearer(keys.key(Role.ADMIN, account))
        path = f"/v1/accounts/{account}/api-keys"
        made, again = send(management, [("POST", path, body, key)] * 2)
        assert (made.status_code, again.status_code) == (201, 409)


@pytest.mark.parametrize("name", ["ACME", "acme%00", "acme%2F..%2Fbeta", "%2e%2e", "acme "])
def test_another_spelling_of_an_account_is_no_way_in(two_accounts, keys, name: str) -> None:
    path = f"/v1/accounts/{name}/domains"
    for account in ("acme", "beta"):
        key = keys.key(Role.ADMIN, account)
        assert two_accounts.send("GET", path, to="management", key=key).status_code == 404


def test_a_key_of_one_account_sees_no_other(two_accounts, keys) -> None:
    for account in ("acme", "beta"):
        key = keys.key(Role.ADMIN, account)
        found = two_accounts.send("GET", "/v1/accounts", to="management", key=key).json()
        assert [each["name"] for each in found] == [account]
        path = f"/v1/accounts/{account}/api-keys"
        listed = two_accounts.send("GET", path, to="management", key=key).json()
        assert {each["account"] for each in listed} == {account}
        whoami = two_accounts.send("GET", "/v1/whoami", to="management", key=key).json()
        assert (whoami["role"], whoami["account"]) == ("admin", account)


def test_the_status_does_not_tell_one_account_of_another(two_accounts, keys) -> None:
    for account, count in (("acme", 1), ("beta", 1), (None, 2)):
        key = keys.key(Role.VIEWER, account)
        found = two_accounts.send("GET", "/v1/status", to="management", key=key).json()
        assert found["accounts"] == count
        assert ("acme" in str(found["warnings"])) == (account != "beta")
