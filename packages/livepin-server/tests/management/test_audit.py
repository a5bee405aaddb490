"""Every route that changes something leaves an entry; and the routes that give the log out."""

from __future__ import annotations

import base64
import json

import pytest
from livepin.bootstrap import Bootstrap
from livepin.documents import root
from livepin.jose import PrivateKey, b64url_decode, sign_general
from livepin.testing import RecordingServer, make_chain
from livepin_server.management import app, openapi
from livepin_server.services.audit.chain import Walk
from livepin_server.services.audit.seals import Roots, kept

DOMAINS = "/v1/accounts/acme/domains"
SETS = "/v1/accounts/acme/pin-sets"
STREAMS = "/v1/accounts/acme/streams"
STAGES = "/v1/accounts/acme/stages"
KEYS = "/v1/accounts/acme/api-keys"
ROOT = "/v1/accounts/acme/root"


def pin(number: int = 1) -> dict[str, str]:
    """A pin to add, another for each number."""
    return {"sha256": "sha256/" + base64.b64encode(bytes([number]) * 32).decode()}


@pytest.fixture(scope="module")
def call(server, open_incident):
    """Call the API as an admin of the whole server."""
    key = server.key()

    def one(method: str, path: str, body: object = None, status: int = 200):
        answer = server.send(method, path, to="management", key=key, json=body)
        assert answer.status_code == status, answer.text
        lines = answer.headers["content-type"].startswith("application/jsonl")
        return answer.content if lines else answer.json()

    one.server, one.key, one.open_incident = server, key, open_incident
    return one


def newest(call, path: str) -> int:
    """Return the number of the newest entry of a log."""
    items = call("GET", f"{path}?limit=1")["items"]
    return items[0]["number"] if items else 0


# -- every route that changes something ----------------------------------------------------------


def add_domain(call, host="a.example.com", number=1):
    return call("POST", DOMAINS, {"pattern": host, "pins": [pin(number)], "reason": "why"}, 201)


def prepared(call, name):
    """Return the root of a new account, signed."""
    key = PrivateKey.generate()
    body = {"root_keys": [dict(key.public.jwk())]}
    payload = call("POST", f"/v1/accounts/{name}/prepare", body)["payload"]
    return json.loads(sign_general(b64url_decode(payload.encode()), typ=root.TYP, signers=[key]))


def make_key(call, **members):
    body = {"name": f"key {newest(call, '/v1/audit')}", "role": "viewer", **members}
    return call("POST", "/v1/api-keys", body, 201)


def change_settings(call):
    add_domain(call, "settings.example.com")
    call("PATCH", f"{DOMAINS}/settings.example.com/settings", {"mode": "report"})


def remove_domain(call):
    add_domain(call, "gone.example.com")
    call("DELETE", f"{DOMAINS}/gone.example.com?reason=gone")


def follow(call):
    add_domain(call, "follows.example.com")
    call("POST", SETS, {"name": "followed", "pins": [pin(7)]}, 201)
    call("PUT", f"{DOMAINS}/follows.example.com/pin-set", {"name": "followed"})


def add_pins(call):
    add_domain(call, "more.example.com")
    call("POST", f"{DOMAINS}/more.example.com/pins", {"pins": [pin(2)]}, 201)


def remove_pin(call):
    add_domain(call, "less.example.com")
    call("POST", f"{DOMAINS}/less.example.com/pins", {"pins": [pin(2)]}, 201)
    digest = base64.urlsafe_b64encode(bytes([2]) * 32).decode().rstrip("=")
    call("DELETE", f"{DOMAINS}/less.example.com/pins/{digest}")


def replace_pins(call):
    call("POST", SETS, {"name": "replaced", "pins": [pin(1)]}, 201)
    call("PUT", f"{SETS}/replaced/pins", {"pins": [pin(2)]})


def remove_set(call):
    call("POST", SETS, {"name": "removed", "pins": [pin(1)]}, 201)
    call("DELETE", f"{SETS}/removed")


def take(call):
    add_domain(call, "taken.example.com")
    call("POST", STREAMS, {"name": "taker"}, 201)
    remove = f"{DOMAINS}/taken.example.com?stream=taker"
    call("DELETE", remove)
    call("POST", f"{STREAMS}/taker/domains", {"pattern": "taken.example.com", "source": "main"})


def restore(call):
    add_domain(call, "restored.example.com")
    version = call("GET", "/v1/accounts/acme/configs/latest")["publication"]["version"]
    call("DELETE", f"{DOMAINS}/restored.example.com")
    call("POST", f"/v1/accounts/acme/configs/{version}/restore", {})


def publish(call):
    call("POST", f"{SETS}?stage=true", {"name": "staged", "pins": [pin(4)]}, 202)
    call("POST", f"{STAGES}/open/publish", {})


def discard(call):
    call("POST", f"{SETS}?stage=true", {"name": "forgotten", "pins": [pin(4)]}, 202)
    call("DELETE", f"{STAGES}/open")


def of_account(call):
    number = newest(call, "/v1/accounts/acme/audit")
    made = call("POST", KEYS, {"name": f"own {number}", "role": "viewer"}, 201)
    return f"{KEYS}/{made['view']['id']}"


def prepare_root(call):
    return call("POST", f"{ROOT}/prepare", {"replace_online": True})["payload"]


def sign_root(call):
    return call("POST", f"{ROOT}/sign", {"payload": prepare_root(call)})["document"]


def raise_versions(call):
    version = call("GET", "/v1/accounts/acme/configs/latest")["publication"]["version"]
    call("POST", "/v1/accounts/acme/versions", {"above": version + 1000})


def probe(call):
    with RecordingServer(make_chain("127.0.0.1")) as endpoint:
        call("POST", "/v1/accounts/acme/probes", {"host": "127.0.0.1", "port": endpoint.port})


def installation(call, method, what, body=None):
    one = f"/v1/accounts/acme/installations/{'B' * 22}"
    call("PUT", f"{one}/rule", {"verdict": "block", "reason": "seen elsewhere"})
    call(method, f"{one}/{what}", body)


def override(call):
    host = f"o{newest(call, OF_ACCOUNT)}.example.com"
    call("POST", DOMAINS, {"pattern": host, "pins": [pin(4)]}, 201)
    wanted = {"installation": "o" * 43, "domains": [host], "mode": "off", "reason": "a test"}
    return call("POST", OVERRIDES, wanted, 201)["version"]


def example(call):
    pins = [pin(9)]
    call("POST", DOMAINS, {"pattern": "tokens.example.org", "pins": pins, "token": True}, 201)
    call("POST", f"{TOKENS}/example", {"host": "tokens.example.org"})


def token_key(call, step, **body):
    name = f"k{newest(call, OF_ACCOUNT)}"
    wanted = {"name": name, "algorithm": "HS256", "domain": "tokens.example.com"}
    call("POST", TOKEN_KEYS, wanted, 201)
    call("POST", f"{TOKEN_KEYS}/{name}/{step}", body)


def set_monitoring(call):
    add_domain(call, "watched.example.com")
    call("PATCH", f"{MONITOR}/settings/watched.example.com", {"every": 60})


def incident(call, step, body):
    """Have an incident opened, of an endpoint of its own."""
    number = call.open_incident(call.server.services, f"i{newest(call, OF_ACCOUNT)}.example.com")
    call("POST", f"{MONITOR}/incidents/{number}/{step}", body)


def maintenance(call):
    return call("POST", f"{MONITOR}/maintenance", {"lasts": 60}, 201)["number"]


def channel(call):
    name = f"c{newest(call, OF_ACCOUNT)}"
    settings = {"kind": "email", "to": ["ops@example.com"]}
    call("POST", f"{MONITOR}/channels", {"name": name, "settings": settings}, 201)
    return name


def forget(call):
    add_domain(call, "elsewhere.example.com")
    call.server.services.endpoints.ensure_vantage("eu-west")
    call("DELETE", "/v1/vantages/eu-west")


def of_app(call, step, path="", body=None, status=200):
    name = f"app-{newest(call, OF_ACCOUNT)}"
    call("POST", APPS, {"name": name}, 201)
    call("POST", f"{APPS}/{name}/releases", {"version": "1", "manifest": MANIFEST}, 201)
    call(step, f"{APPS}/{name}{path}", body, status)


MANIFEST = f"{'0' * 64} 0 app.py\n"
APPS = "/v1/accounts/acme/apps"
APPLE = {"team": "A1B2C3D4E5", "bundle": "com.example.shop"}
TOKEN_KEYS, TOKENS = "/v1/accounts/acme/token-keys", "/v1/accounts/acme/tokens"
OF_SERVER, OF_ACCOUNT = "/v1/audit", "/v1/accounts/acme/audit"
LOOKING = {  # which changes nothing
    ("POST", "/v1/accounts/{account}/tokens/check"),
    ("POST", "/v1/accounts/{account}/policy/effect"),
}
MONITOR = "/v1/accounts/acme/monitor"
OVERRIDES = "/v1/accounts/acme/overrides"
# Each route that may change something, how to have it do so, and the action that is told where.
ROUTES = {
    ("POST", "/v1/accounts/{account}/prepare"):
        (lambda call: prepared(call, "prepared"), OF_SERVER, "account.prepare"),
    ("PUT", "/v1/accounts/{account}/root"):
        (lambda call: call("PUT", "/v1/accounts/beta/root", {"document": prepared(call, "beta")}),
         "/v1/accounts/beta/audit", "account.create"),
    ("PUT", "/v1/accounts/{account}/delivery"):
        (lambda call: call("PUT", "/v1/accounts/acme/delivery", {"refresh_interval": 60}),
         OF_ACCOUNT, "delivery.set"),
    ("POST", "/v1/accounts/{account}/domains"): (add_domain, OF_ACCOUNT, "config.publish"),
    ("PATCH", "/v1/accounts/{account}/domains/{pattern}/settings"):
        (change_settings, OF_ACCOUNT, "config.publish"),
    ("DELETE", "/v1/accounts/{account}/domains/{pattern}"):
        (remove_domain, OF_ACCOUNT, "config.publish"),
    ("PUT", "/v1/accounts/{account}/domains/{pattern}/pin-set"):
        (follow, OF_ACCOUNT, "config.publish"),
    ("POST", "/v1/accounts/{account}/domains/{pattern}/pins"):
        (add_pins, OF_ACCOUNT, "config.publish"),
    ("DELETE", "/v1/accounts/{account}/domains/{pattern}/pins/{digest}"):
        (remove_pin, OF_ACCOUNT, "config.publish"),
    ("POST", "/v1/accounts/{account}/pin-sets"):
        (lambda call: call("POST", SETS, {"name": "added", "pins": [pin(3)]}, 201),
         OF_ACCOUNT, "config.publish"),
    ("PUT", "/v1/accounts/{account}/pin-sets/{name}/pins"):
        (replace_pins, OF_ACCOUNT, "config.publish"),
    ("DELETE", "/v1/accounts/{account}/pin-sets/{name}"):
        (remove_set, OF_ACCOUNT, "config.publish"),
    ("POST", "/v1/accounts/{account}/streams"):
        (lambda call: call("POST", STREAMS, {"name": "canary"}, 201), OF_ACCOUNT, "stream.add"),
    ("POST", "/v1/accounts/{account}/streams/{stream}/domains"):
        (take, OF_ACCOUNT, "config.publish"),
    ("POST", "/v1/accounts/{account}/configs/{version}/restore"):
        (restore, OF_ACCOUNT, "config.restore"),
    ("POST", "/v1/accounts/{account}/stages/{number}/publish"):
        (publish, OF_ACCOUNT, "config.publish"),
    ("DELETE", "/v1/accounts/{account}/stages/{number}"): (discard, OF_ACCOUNT, "stage.discard"),
    ("PUT", "/v1/accounts/{account}/guards"):
        (lambda call: call("PUT", "/v1/accounts/acme/guards", {"most_domains": 50}),
         OF_ACCOUNT, "guards.set"),
    ("POST", "/v1/accounts/{account}/token-keys"):
        (lambda call: call("POST", TOKEN_KEYS, {"name": "added"}, 201),
         OF_ACCOUNT, "token-key.add"),
    ("POST", "/v1/accounts/{account}/token-keys/{name}/rotate"):
        (lambda call: token_key(call, "rotate"), OF_ACCOUNT, "token-key.rotate"),
    ("POST", "/v1/accounts/{account}/token-keys/{name}/export"):
        (lambda call: token_key(call, "export"), OF_ACCOUNT, "token-key.export"),
    ("PATCH", "/v1/accounts/{account}/tokens"):
        (lambda call: call("PATCH", TOKENS, {"issuer": "https://example.com"}),
         OF_ACCOUNT, "tokens.set"),
    ("PATCH", "/v1/accounts/{account}/tokens/{pattern}"):
        (lambda call: call("PATCH", f"{TOKENS}/tokens.example.com", {"lives": 60}),
         OF_ACCOUNT, "tokens.set"),
    ("POST", "/v1/accounts/{account}/tokens/example"):
        (example, OF_ACCOUNT, "tokens.example"),
    ("PUT", "/v1/accounts/{account}/installations/{installation}/tags"):
        (lambda call: installation(call, "PUT", "tags", {"tags": ["beta"]}),
         OF_ACCOUNT, "installation.tag"),
    ("PUT", "/v1/accounts/{account}/installations/{installation}/rule"):
        (lambda call: installation(call, "PUT", "rule", {"verdict": "fail", "reason": "a test"}),
         OF_ACCOUNT, "installation.force-fail"),
    ("PUT", "/v1/accounts/{account}/installations/{installation}/pass"):
        (lambda call: installation(call, "PUT", "pass", {"reason": "a test"}),
         OF_ACCOUNT, "installation.force-pass"),
    ("DELETE", "/v1/accounts/{account}/installations/{installation}/rule"):
        (lambda call: installation(call, "DELETE", "rule"), OF_ACCOUNT, "installation.unblock"),
    ("PUT", "/v1/accounts/{account}/policy"):
        (lambda call: call("PUT", "/v1/accounts/acme/policy", {"policy": {"threshold": 90}}),
         OF_ACCOUNT, "policy.set"),
    ("POST", "/v1/accounts/{account}/overrides"): (override, OF_ACCOUNT, "override.create"),
    ("DELETE", "/v1/accounts/{account}/overrides/{override}"):
        (lambda call: call("DELETE", f"{OVERRIDES}/{override(call)}"), OF_ACCOUNT, "override.end"),
    ("POST", "/v1/accounts/{account}/apps"):
        (lambda call: call("POST", APPS, {"name": "shop", "apple": APPLE}, 201),
         OF_ACCOUNT, "app.add"),
    ("PATCH", "/v1/accounts/{account}/apps/{name}/identities"):
        (lambda call: of_app(call, "PATCH", "/identities", {"apple": APPLE}),
         OF_ACCOUNT, "app.set"),
    ("DELETE", "/v1/accounts/{account}/apps/{name}"):
        (lambda call: of_app(call, "DELETE"), OF_ACCOUNT, "app.remove"),
    ("POST", "/v1/accounts/{account}/apps/{name}/releases"):
        (lambda call: of_app(call, "GET"), OF_ACCOUNT, "release.add"),
    ("DELETE", "/v1/accounts/{account}/apps/{name}/releases/{version}"):
        (lambda call: of_app(call, "DELETE", "/releases/1"), OF_ACCOUNT, "release.end"),
    ("POST", "/v1/accounts/{account}/monitor/looks"):
        (lambda call: call("POST", f"{MONITOR}/looks", {}), OF_ACCOUNT, "probe"),
    ("PATCH", "/v1/accounts/{account}/monitor/settings/{pattern}"):
        (set_monitoring, OF_ACCOUNT, "monitor.set"),
    ("POST", "/v1/accounts/{account}/monitor/incidents/{incident}/acknowledge"):
        (lambda call: incident(call, "acknowledge", {}), OF_ACCOUNT, "incident.acknowledge"),
    ("POST", "/v1/accounts/{account}/monitor/incidents/{incident}/snooze"):
        (lambda call: incident(call, "snooze", {"seconds": 60}), OF_ACCOUNT, "incident.snooze"),
    ("POST", "/v1/accounts/{account}/monitor/maintenance"):
        (maintenance, OF_ACCOUNT, "maintenance.add"),
    ("DELETE", "/v1/accounts/{account}/monitor/maintenance/{window}"):
        (lambda call: call("DELETE", f"{MONITOR}/maintenance/{maintenance(call)}"), OF_ACCOUNT,
         "maintenance.end"),
    ("POST", "/v1/accounts/{account}/monitor/channels"): (channel, OF_ACCOUNT, "channel.add"),
    ("DELETE", "/v1/accounts/{account}/monitor/channels/{name}"):
        (lambda call: call("DELETE", f"{MONITOR}/channels/{channel(call)}"), OF_ACCOUNT,
         "channel.remove"),
    ("POST", "/v1/accounts/{account}/monitor/channels/{name}/test"):
        (lambda call: call("POST", f"{MONITOR}/channels/{channel(call)}/test", {}), OF_ACCOUNT,
         "channel.test"),
    ("POST", "/v1/accounts/{account}/monitor/channels/{name}/retry"):
        (lambda call: call("POST", f"{MONITOR}/channels/{channel(call)}/retry", {}), OF_ACCOUNT,
         "channel.retry"),
    ("DELETE", "/v1/vantages/{vantage}"): (forget, OF_SERVER, "monitor.forget"),
    ("POST", "/v1/accounts/{account}/api-keys"): (of_account, OF_ACCOUNT, "api-key.create"),
    ("POST", "/v1/accounts/{account}/api-keys/{key_id}/rotate"):
        (lambda call: call("POST", f"{of_account(call)}/rotate", {}), OF_ACCOUNT,
         "api-key.rotate"),
    ("DELETE", "/v1/accounts/{account}/api-keys/{key_id}"):
        (lambda call: call("DELETE", of_account(call)), OF_ACCOUNT, "api-key.revoke"),
    ("POST", "/v1/api-keys/{key_id}/rotate"):
        (lambda call: call("POST", f"/v1/api-keys/{make_key(call)['view']['id']}/rotate", {}),
         OF_SERVER, "api-key.rotate"),
    ("POST", "/v1/accounts/{account}/root/prepare"): (prepare_root, OF_ACCOUNT, "root.prepare"),
    ("POST", "/v1/accounts/{account}/root/sign"): (sign_root, OF_ACCOUNT, "root.sign"),
    ("POST", "/v1/accounts/{account}/root/publish"):
        (lambda call: call("POST", f"{ROOT}/publish", {"document": sign_root(call)}), OF_ACCOUNT,
         "root.publish"),
    ("POST", "/v1/accounts/{account}/versions"): (raise_versions, OF_ACCOUNT, "versions.raise"),
    ("POST", "/v1/custody/rekey"):
        (lambda call: call("POST", "/v1/custody/rekey", {}), OF_SERVER, "custody.rekey"),
    ("POST", "/v1/backups"):
        (lambda call: call("POST", "/v1/backups", {"recipients": 1, "size": 1, "rows": 1}),
         OF_SERVER, "backup.make"),
    ("POST", "/v1/accounts/{account}/probes"): (probe, OF_ACCOUNT, "probe"),
    ("POST", "/v1/api-keys"): (make_key, OF_SERVER, "api-key.create"),
    ("DELETE", "/v1/api-keys/{key_id}"):
        (lambda call: call("DELETE", f"/v1/api-keys/{make_key(call)['view']['id']}"),
         OF_SERVER, "api-key.revoke"),
}  # fmt: skip
NAMES = [f"{method} {path}" for method, path in ROUTES]


def test_the_table_has_every_route_that_may_change_something() -> None:
    paths = openapi.document(app.ROUTES)["paths"]
    found = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    assert {each for each in found if each[0] != "GET"} == {*ROUTES, *LOOKING}


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_route_that_changes_something_leaves_an_entry(call, route) -> None:
    change, log, action = ROUTES[route]
    before = 0 if "beta" in log else newest(call, log)
    change(call)
    items = call("GET", f"{log}?limit=100&action={action}")["items"]
    last = items[0]
    assert last["number"] > before
    entry = last["entry"]
    assert (entry["action"], entry["origin"]) == (action, "127.0.0.1")
    assert entry["key_id"] == call.key.split("_")[1]
    assert entry["author"].startswith("admin ")
    if action == "config.publish":
        assert entry["after"]["changed"]
        assert entry["config"] == entry["after"]["version"]
    assert "lpk_" not in json.dumps(items)


def test_what_is_refused_leaves_none(call) -> None:
    before = newest(call, OF_ACCOUNT), newest(call, OF_SERVER)
    call("POST", DOMAINS, {"pattern": "!", "pins": [pin()]}, 422)
    call("POST", "/v1/accounts/acme/probes", {"host": "!"}, 422)
    call("POST", "/v1/accounts/nobody/probes", {"host": "127.0.0.1"}, 404)
    call("DELETE", "/v1/api-keys/nobody", status=404)
    assert (newest(call, OF_ACCOUNT), newest(call, OF_SERVER)) == before


def test_a_key_for_an_account_is_told_of_there(call) -> None:
    made = make_key(call, account="acme")["view"]
    (found,) = call("GET", f"{OF_ACCOUNT}?action=api-key&limit=1")["items"]
    assert found["entry"]["target"] == made["id"]


# -- the log given out ---------------------------------------------------------------------------


def test_all_that_was_done_here_can_be_verified_over_the_api(call) -> None:
    for number in range(6):
        add_domain(call, f"verified-{number}.example.com")
    first = call("GET", f"{OF_ACCOUNT}/signed")
    documents = [(each["version"], each["document"].encode()) for each in first["configs"]]
    roots = Roots()
    start = Bootstrap(root=first["roots"][0].encode(), config=documents[0][1])
    roots.add(start, [each.encode() for each in first["roots"][1:]], where="the server")
    walk = Walk("acme", kept=kept(roots, documents))
    for line in call("GET", f"{OF_ACCOUNT}/entries").splitlines(keepends=True):
        walk.take(line)
    assert not walk.is_behind()
    walk.end()
    assert walk.configs == len(documents) > 5
    after = documents[-1][0]
    assert call("GET", f"{OF_ACCOUNT}/signed?after={after}") == {"roots": [], "configs": []}


def test_the_log_goes_on_page_by_page(call) -> None:
    whole = call("GET", f"{OF_ACCOUNT}?limit=1000")
    assert whole["before"] is None
    found, page = [], {"before": None, "items": []}
    while not found or page["before"] is not None:
        before = "" if page["before"] is None else f"&before={page['before']}"
        page = call("GET", f"{OF_ACCOUNT}?limit=7{before}")
        assert len(page["items"]) <= 7
        found += page["items"]
    assert found == whole["items"]


def test_an_export_beyond_the_end_is_refused(call) -> None:
    end = newest(call, OF_ACCOUNT)
    assert call("GET", f"{OF_ACCOUNT}/entries?after={end}") == b""
    problem = call("GET", f"{OF_ACCOUNT}/entries?after={end + 1}", status=404)
    assert problem["detail"] == f"there is no entry {end + 1}: the log ends at entry {end}"


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=x", "before=-1", f"before={2**53}", "since=yesterday",
     "since=2026-11-23T12:00:00", f"action={'a' * 65}", f"author={'a' * 201}"],
)  # fmt: skip
def test_a_query_out_of_bounds_is_refused(call, query) -> None:
    for path in (OF_ACCOUNT, OF_SERVER):
        status = 422 if query.startswith("since") else 400
        assert call("GET", f"{path}?{query}", status=status)["detail"]


def test_a_key_of_an_account_sees_that_accounts_log_alone(call) -> None:
    server = call.server
    for role in ("viewer", "admin"):
        key = server.key(role, "acme")
        for path, status in (
            (OF_ACCOUNT, 200), (f"{OF_ACCOUNT}/entries", 200), (f"{OF_ACCOUNT}/signed", 200),
            ("/v1/accounts/nobody/audit", 404), ("/v1/accounts/beta/audit/entries", 404),
            (OF_SERVER, 403), (f"{OF_SERVER}/entries", 403),
        ):  # fmt: skip
            answer = server.send("GET", path, to="management", key=key)
            assert answer.status_code == status, (path, answer.text)


def test_no_route_changes_the_log(call) -> None:
    paths = openapi.document(app.ROUTES)["paths"]
    assert {m for path in paths for m in paths[path] if "/audit" in path} == {"get"}
    call("DELETE", OF_ACCOUNT, status=405)
