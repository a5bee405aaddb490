"""The head in a signed config counts only if a root of the account vouches for its signature."""

import json

import pytest
from livepin.bootstrap import Bootstrap
from livepin.documents import config, root
from livepin.errors import MalformedError
from livepin.jose import PrivateKey, sign_compact, sign_general
from livepin_server.errors import TamperedError
from livepin_server.services.audit.seals import Roots, head_of, kept

HEAD = "A" * 42 + "E"
KEYS = {name: PrivateKey.generate() for name in ("root 1", "root 2", "config 1", "config 2", "x")}


def make_root(version=1, *, account="acme", by=("root 1",), **members):
    payload = {
        "account": account, "version": version, "issued": 0, "expires": 1,
        "roles": {
            "root": {"keys": [KEYS[f"root {version}"].public.jwk()], "threshold": 1},
            "config": {"keys": [KEYS[f"config {version}"].public.jwk()], "threshold": 1},
            "override": {"keys": [KEYS["x"].public.jwk()], "threshold": 1},
        },
    } | members  # fmt: skip
    signers = [KEYS[name] for name in by]
    return sign_general(json.dumps(payload).encode(), typ=root.TYP, signers=signers)


def make_config(version=1, *, root_version=1, by=None, **members):
    payload = {
        "account": "acme", "stream": "main", "root_version": root_version, "version": version,
        "issued": 0, "expires": 1, "audit": HEAD,
        "delivery": {"urls": ["https://pins.example.com"], "pins": [{"sha256": "A" * 43 + "="}]},
    } | members  # fmt: skip
    payload = {name: value for name, value in payload.items() if value is not ...}
    signer = KEYS[by or f"config {root_version}"]
    return sign_compact(json.dumps(payload).encode(), typ=config.TYP, signer=signer)


ROOT_1, ROOT_2 = make_root(), make_root(2, by=("root 1", "root 2"))


@pytest.fixture
def roots():
    """Both roots of the account."""
    found = Roots()
    found.add(Bootstrap(root=ROOT_1, config=make_config()), [ROOT_2], where="the server")
    return found


def test_a_config_gives_its_head_and_version(roots):
    for version, root_version in ((3, 1), (4, 2)):
        raw = make_config(version, root_version=root_version)
        found = roots.seal(raw, where="app.json")
        assert (found.head, found.version, found.where) == (HEAD, version, "app.json")
        assert head_of(raw) == bytes(31) + b"\1"


def test_a_config_from_before_there_was_a_log_gives_none(roots):
    assert roots.seal(make_config(audit=...), where="app.json") is None
    assert head_of(make_config(audit=...)) is None


@pytest.mark.parametrize(
    "raw",
    [
        make_config(by="x"),
        make_config(by="config 2"),
        make_config(root_version=2, by="config 1"),
        make_config()[:-3] + b"AAA",
    ],
)
def test_a_config_that_another_key_signed_is_none_of_the_accounts(roots, raw):
    with pytest.raises(
        TamperedError, match=r"app.json is not signed by a key that root [12] names"
    ):
        roots.seal(raw, where="app.json")


def test_a_config_of_another_account_is_a_mistake_of_who_brings_it(roots):
    raw = make_config(account="beta")
    with pytest.raises(MalformedError, match=r"app.json is of the account beta, not of acme"):
        roots.seal(raw, where="app.json")


def test_a_config_under_an_unknown_root_needs_that_root(roots):
    with pytest.raises(MalformedError, match="root 3, which is not here") as caught:
        roots.seal(make_config(root_version=3, by="x"), where="app.json")
    assert "--bootstrap" in caught.value.hint


@pytest.mark.parametrize("raw", [b"", b"{}", b"a.b.c", ROOT_1, b"\xff" * 9, b"." * 9])
def test_what_is_no_config_is_said_to_be_none(roots, raw):
    with pytest.raises(MalformedError, match=r"app.json is no signed config"):
        roots.seal(raw, where="app.json")
    with pytest.raises(MalformedError):
        head_of(raw)


@pytest.mark.parametrize("payload", [b"[]", b"{}", b"[" * 90_000, b'{"account":1}', b"\xff"])
def test_a_payload_that_is_none_is_said_to_be_none(roots, payload):
    raw = sign_compact(payload, typ=config.TYP, signer=KEYS["config 1"])
    with pytest.raises(MalformedError, match=r"app.json is no signed config"):
        roots.seal(raw, where="app.json")


def test_a_bootstrap_gives_the_root_that_no_server_can_exchange():
    roots = Roots()
    roots.add(Bootstrap(root=ROOT_1, config=make_config(2)), where="app.json")
    assert roots.account == "acme"
    other = make_root(issued=7)
    with pytest.raises(TamperedError, match="root 1 of the server is not the one that was known"):
        roots.add(Bootstrap(root=other, config=make_config()), where="the server")
    roots.add(Bootstrap(root=ROOT_1, config=make_config()), [ROOT_2], where="the server")


@pytest.mark.parametrize(
    ("first", "later"),
    [(make_root(by=("x",)), []), (ROOT_1, [make_root(2, by=("root 2",))]), (ROOT_1, [ROOT_1]),
     (b"{}", [])],
)  # fmt: skip
def test_roots_that_are_not_signed_as_they_must_be_are_refused(first, later):
    with pytest.raises(TamperedError, match="root and config of the server do not hold: rule"):
        Roots().add(Bootstrap(root=first, config=make_config()), later, where="the server")


def test_a_bootstrap_of_another_account_is_a_mistake_of_who_brings_it(roots):
    other = Bootstrap(root=make_root(account="beta"), config=make_config(account="beta"))
    with pytest.raises(MalformedError, match=r"app.json is of the account beta, not of acme"):
        roots.add(other, where="app.json")


# -- all that a server keeps ---------------------------------------------------------------------


def test_what_is_kept_from_before_there_was_a_log_is_left_out(roots):
    documents = [(1, make_config(1, audit=...)), (2, make_config(2)), (3, make_config(3))]
    assert [each.version for each in kept(roots, documents)] == [2, 3]


def test_a_kept_config_without_a_head_after_one_that_has_it_is_not_the_servers(roots):
    documents = [(1, make_config(1)), (2, make_config(2, audit=...))]
    with pytest.raises(TamperedError, match="the server's config 2 carries no head, though"):
        list(kept(roots, documents))


@pytest.mark.parametrize("raw", [b"nonsense", make_config(2, by="x"), make_config(account="beta")])
def test_a_kept_config_that_does_not_hold_was_tampered_with(roots, raw):
    with pytest.raises(TamperedError, match="the server's config 2"):
        list(kept(roots, [(1, make_config(1)), (2, raw)]))
