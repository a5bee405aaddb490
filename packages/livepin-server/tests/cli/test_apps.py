"""livepin app: registered, changed, shown and removed; keys come from files, and never show."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from joserfc.jwk import ECKey
from minted_play import Keys

DIGEST = "ab" * 32
COLONS = ":".join(["AB"] * 32)
ANDROID = ("--android-package", "com.example.shop", "--android-certificate", COLONS)
APPLE = ("--apple-team", "A1B2C3D4E5", "--apple-bundle", "com.example.shop")
PLAY = ("--play-package", "com.example.shop", "--play-certificate", DIGEST)
WORKLOAD = (
    "--workload-profile", "oidc", "--workload-issuer", "https://issuer.example.com",
    "--workload-audience", "livepin", "--workload-subject", "shop",
)  # fmt: skip


@pytest.fixture
def play_keys(tmp_path):
    """The file of the keys of a Play Console page."""
    app, file = Keys().app(), tmp_path / "play.keys"
    file.write_text(
        f"DECRYPTION_KEY={app.decryption_key}\n\nverification_key = {app.verification_key}\n"
    )
    return file


@pytest.fixture
def jwks(tmp_path):
    """The file of the keys of an issuer."""
    key = ECKey.generate_key("P-256").as_dict(private=False)
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps({"keys": [{**key, "kid": "issuer-1"}]}))
    return file


@pytest.fixture(scope="session")
def pem():
    """The private key of a service account."""
    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def identities(run, name="shop"):
    return run("app", "show", name, "--json").json["identities"]


def test_there_is_none_at_first(run, data) -> None:
    assert run("app", "list").out == "No app is registered yet: livepin app add NAME\n"
    assert run("app", "list", "--json").json == []


def test_an_app_of_every_kind_is_registered_and_shown(run, data, play_keys, jwks) -> None:
    claim = ("--workload-claim", "project=shop=1", "--workload-jwks", jwks)
    more = ("--android-boot-key", COLONS, "--android-strongbox", "--android-patched", "2026-01")
    play = (*PLAY, "--play-keys", play_keys)
    done = run("app", "add", "shop", *ANDROID, *more, *APPLE, *play, *WORKLOAD, *claim)
    assert done.out.splitlines() == [
        "The app shop is registered; it can prove hardware_app.",
        "Whether it must:",
        "  livepin policy set --app shop=hardware_app --dry-run",
    ]
    assert run("app", "list").out.splitlines()[1].split(maxsplit=2) == [
        "shop", "hardware_app", "android, apple, play, workload  0",
    ]  # fmt: skip
    shown = run("app", "show", "shop").out
    for line in (
        "  releases  0 in force",
        f"    certificates: {DIGEST}",
        f"    boot keys: {DIGEST}",
        "    strongbox: yes",
        "    patched: 2026-01",
        "    team: A1B2C3D4E5",
        "    opened: here",
        "    subject: shop",
        "    claims: project=shop=1",
        "    jwks: issuer-1",
    ):
        assert f"{line}\n" in shown
    assert "development" not in shown


def test_keys_are_never_shown(run, data, play_keys) -> None:
    made = run("app", "add", "shop", *PLAY, "--play-keys", play_keys, "--json")
    assert made.json["identities"]["play"]["opened"] == "here"
    shown = made.out + run("app", "show", "shop", "--json").out + run("app", "show", "shop").out
    shown += run("app", "list", "--json").out + run("audit", "log", "--json").out
    for line in filter(None, play_keys.read_text().splitlines()):
        assert line.partition("=")[2].strip() not in shown


def test_google_is_asked_by_a_service_account(run, data, tmp_path, pem) -> None:
    file = tmp_path / "account.json"
    account = {"client_email": "shop@example.com", "private_key": pem, "type": "service_account"}
    file.write_text(json.dumps(account))
    done = run("app", "add", "shop", *PLAY, "--play-service-account", file, "--json")
    play = done.json["identities"]["play"]
    assert (play["opened"], play["service_account"]) == ("by Google", "shop@example.com")
    assert pem.splitlines()[1] not in done.out


def test_keys_of_an_issuer_may_be_at_a_url_with_a_private_ca(run, data) -> None:
    where = ("--workload-jwks", "https://issuer.example.com/jwks")
    ca = ("--workload-ca", data / "tls" / "ca.pem")
    assert run("app", "add", "shop", *WORKLOAD, *where, *ca).code == 0
    found = identities(run)["workload"]
    assert (found["jwks"], found["jwks_url"]) == (None, where[1])
    assert "    ca: a private one\n" in run("app", "show", "shop").out


def test_an_app_without_identities_has_releases(run, data) -> None:
    done = run("app", "add", "desktop")
    assert "it can prove self" in done.out
    assert "  livepin app release add desktop VERSION --manifest FILE\n" in done.out
    assert run("app", "list").out.splitlines()[1].split() == ["desktop", "self", "nothing", "0"]


def test_what_is_not_said_stays(run, data, play_keys) -> None:
    run("app", "add", "shop", *ANDROID, *PLAY, "--play-keys", play_keys)
    done = run("app", "set", "shop", *APPLE, "--apple-development", "--remove", "android")
    assert done.out == "The app shop is changed; it can prove hardware_app.\n"
    assert [*identities(run)] == ["apple", "play"]
    done = run("app", "set", "shop", "--remove", "play", "--remove", "apple", "--json")
    assert done.json["proves"] == "self"


def test_an_app_is_removed(run, data) -> None:
    run("app", "add", "shop")
    run("app", "add", "other")
    assert run("app", "remove", "shop").out == "The app shop is removed, with its releases.\n"
    assert run("app", "remove", "other", "--json").json["name"] == "other"
    assert run("app", "list", "--json").json == []


def test_what_the_policy_needs_is_not_removed(run, data) -> None:
    run("app", "add", "shop", *APPLE)
    run("policy", "set", "--app", "shop=hardware_app", "--yes")
    for arguments in (("remove", "shop"), ("set", "shop", "--remove", "apple")):
        done = run("app", *arguments)
        assert (done.code, done.out) == (3, "")
        assert done.err.startswith(
            "error: the policy in force needs the level hardware_app of shop"
        )
        assert "hint:  " in done.err
    done = run("policy", "set", "--app", "other=platform", "--yes")
    assert "hint:  livepin app add other --help" in done.err


def test_a_wrong_name_suggests_the_right_one(run, data) -> None:
    run("app", "add", "shop")
    for arguments in (("show", "shp"), ("remove", "shp"), ("set", "shp", *APPLE)):
        done = run("app", *arguments)
        assert done.code == 3
        assert done.err == "error: there is no app 'shp'\nhint:  did you mean shop?\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("a/b",), "expected the name of an app"),
        (("x", *ANDROID[:2]), "expected --android-certificate as well"),
        (("x", "--android-strongbox"), "expected --android-package as well"),
        (("x", *APPLE[2:]), "expected --apple-team as well"),
        (("x", *PLAY), "expected --play-keys FILE or --play-service-account FILE"),
        (("x", *PLAY, "--play-keys", "a", "--play-service-account", "b"), "found both"),
        (("x", *PLAY, "--play-keys", "no"), "cannot read no"),
        (("x", *WORKLOAD), "expected --workload-jwks"),
        (("x", *WORKLOAD[2:]), "expected --workload-profile as well"),
        (("x", "--workload-claim", "a"), "--workload-claim: expected NAME=TEXT"),
        (("x", *APPLE[:3], "com example"), "apple.bundle: Expected"),
    ],
)
def test_what_cannot_be_is_refused(run, data, arguments, said) -> None:
    done = run("app", "add", *arguments)
    assert done.code == 2
    assert said in done.err.splitlines()[0]
    assert run("app", "list", "--json").json == []


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--play-keys", "expected the two keys of the Play Console page"),
        ("--play-service-account", "expected the JSON key of a service account"),
        ("--workload-jwks", "expected a JWKS"),
    ],
)
@pytest.mark.parametrize("text", ["tops3cret", "[]", '{"tops3cret"', "[" * 60000, "x" * 65537])
def test_a_wrong_file_is_refused_and_not_quoted(run, data, tmp_path, option, said, text) -> None:
    file = tmp_path / "wrong"
    file.write_text(text)
    others = WORKLOAD if option.startswith("--w") else PLAY
    done = run("app", "add", "shop", *others, option, file)
    assert done.code == 2
    assert "expected at most 65536 characters" in done.err if text[0] == "x" else said in done.err
    assert "tops3cret" not in done.err
