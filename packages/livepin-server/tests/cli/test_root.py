"""livepin root show, prepare, publish and rotate: the ceremony, and its short form."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from livepin.bootstrap import Bootstrap
from livepin.jose import PrivateKey
from livepin.trust import TrustedState
from livepin_server.cli.api import Common, connected
from livepin_server.custody.public_file import write_public
from livepin_server.custody.root_file import read_root_key

from .conftest import TOLD

PASSPHRASE = "correct horse battery staple"
URL = "https://pins.example.com:8443"


@pytest.fixture(autouse=True)
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase, in the environment."""
    monkeypatch.setenv("LIVEPIN_ROOT_PASSPHRASE", PASSPHRASE)


@pytest.fixture
def root_key(template: Path) -> Path:
    """The root key of the account `acme`."""
    return template.parent / "root.key"


@pytest.fixture
def shown(run: Any) -> Any:
    """Return the newest root."""
    return lambda *arguments: run("root", "show", "--json", *arguments).json


def kids(view: dict[str, Any], role: str = "root") -> list[str]:
    return [each["kid"] for each in view["roles"][role]["keys"]]


# -- show ----------------------------------------------------------------------------------------


def test_it_shows_the_root_its_keys_and_where_they_are(run, data, shown) -> None:
    found, done = shown(), run("root", "show")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[0] == "root 1 of acme"
    assert lines[3] == f"  payload   sha256 {found['sha256']}"
    assert lines[4] == "  to sign   1 of 1 root keys sign the next one"
    assert [line.split(maxsplit=2) for line in lines[6:]] == [
        ["root", *kids(found), "not on the server"],
        ["config", *kids(found, "config"), "sealed on the server"],
        ["override", *kids(found, "override"), "sealed on the server"],
    ]


def test_it_shows_what_waits_to_be_published_and_what_to_think_of(run) -> None:
    run("init", "new", "--account", "acme", "--url", URL, "--online-root")
    run("root", "prepare", "--replace-online", "--data", "new")
    done = run("root", "show", "--data", "new")
    assert done.out.count("prepared for a root that is not published: ") == 2
    assert done.err == "warning: the root key of acme is on the server\n"
    listed = run("account", "list", "--data", "new")
    assert listed.err == "warning: the root key of acme is on the server\n"


# -- prepare and publish -------------------------------------------------------------------------


def test_the_ceremony_of_one(run, data, root_key, shown) -> None:
    before = shown()
    done = run("root", "prepare", "--replace-online", "--reason", "the server was stolen")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "acme-root-2.json proposes root 2 of acme.",
        "Missing: 1 signature by root keys of root 1 and 1 signature by root keys of root 2. "
        "One key may count in both.",
        "Carry it to a machine with a root key. There:",
        "  livepin root sign acme-root-2.json --key FILE",
    ]
    early = run("root", "publish", "acme-root-2.json")
    assert early.code == 2
    assert early.err.splitlines()[0].startswith("error: acme-root-2.json is not signed by enough")
    assert early.err.splitlines()[1] == "hint:  livepin root sign acme-root-2.json --key FILE"
    assert run("root", "sign", "acme-root-2.json", "--key", root_key, "--yes").code == 0
    done = run("root", "publish", "acme-root-2.json", "--reason", "the server was stolen")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:2] == ["root 2 of acme is published.", "main: config version 2"]
    assert lines[2] == f"  + config key {kids(shown(), 'config')[0]}, by root 2"
    assert lines[3] == f"  - config key {kids(before, 'config')[0]}, by root 2"
    assert lines[-1] == "it: livepin bootstrap"
    log = run("config", "log", "--json").json
    assert (log[0]["root_version"], log[0]["reason"]) == (2, "the server was stolen")
    again = run("root", "publish", "acme-root-2.json")
    assert again.code == 3
    assert again.err.startswith("error: root 2 of acme is published already: the newest is root 2")


def test_the_ceremony_of_two_of_three(run, data, root_key, shown) -> None:
    for name in ("bob", "carol"):
        run("root", "new-key", f"{name}.key", "--account", "acme")
    run("root", "prepare", "--add-key", "bob.key.pub", "--add-key", "carol.key.pub",
        "--threshold", 2, "--out", "p.json")  # fmt: skip
    run("root", "sign", "p.json", "--key", root_key, "--yes")
    done = run("root", "sign", "p.json", "--key", "carol.key", "--yes")
    assert "Enough have signed." in done.out
    assert run("root", "publish", "p.json", "--json").json[0]["root_version"] == 2
    assert shown()["roles"]["root"]["threshold"] == 2
    assert len(kids(shown())) == 3


def test_an_account_starts_with_several_root_keys(run, data, shown) -> None:
    for name in ("alice", "bob"):
        run("root", "new-key", f"{name}.key", "--account", "beta")
    done = run("account", "add", "beta", "--root-public", "alice.key.pub",
               "--root-public", "bob.key.pub", "--threshold", 2)  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "beta-root-1.json proposes root 1 of beta. Missing: 2 signatures by root keys of root 1.",
        "Carry it to each machine with a root key. There:",
        "  livepin root sign beta-root-1.json --key FILE",
    ]
    assert [each["name"] for each in run("account", "list", "--json").json] == ["acme"]
    first = run("root", "sign", "beta-root-1.json", "--key", "alice.key", "--yes")
    assert "  follows   none: it is the first of the account" in first.out
    run("root", "sign", "beta-root-1.json", "--key", "bob.key", "--yes")
    done = run("root", "publish", "beta-root-1.json")
    assert done.out.splitlines() == ["root 1 of beta is published.", "main: config version 1"]
    assert len(kids(shown("--account", "beta"))) == 2
    again = run("account", "add", "gamma", "--root-public", "alice.key.pub", "--json").json
    assert again == {"file": "gamma-root-1.json", "version": 1}


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "expected --root-key FILE or --root-public FILE.pub"),
        (("--root-key", "b.key", "--threshold", "2"), "expected --root-key FILE or --root-public"),
        (("--root-key", "b.key", "--out", "x"), "expected --root-key FILE or --root-public"),
        (("--root-key", "b.key", "--root-public", "b.pub"), "expected --root-key or --root-public"),
        (("--root-public", "gone.pub"), "cannot read gone.pub: No such file or directory"),
    ],
)
def test_a_mistake_prepares_no_account(run, data, arguments, error) -> None:
    done = run("account", "add", "beta", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"error: {error}")
    assert not Path("b.key").exists()


def test_no_proposal_is_overwritten(run, data, root_key) -> None:
    run("root", "prepare", "--replace-online", "--out", "p.json")
    run("root", "sign", "p.json", "--key", root_key, "--yes")
    before = Path("p.json").read_bytes()
    done = run("root", "prepare", "--days", 2000, "--out", "p.json")
    assert (done.code, done.err.splitlines()) == (
        2, ["error: p.json exists already", "hint:  name a new file: --out FILE"],
    )  # fmt: skip
    assert Path("p.json").read_bytes() == before


def test_a_proposal_that_cannot_be_written_is_said(run, data) -> None:
    done = run("root", "prepare", "--replace-online", "--out", "gone/p.json")
    assert done.err == "error: cannot write gone/p.json: No such file or directory\n"


def test_programs_are_told_the_file(run, data) -> None:
    found = run("root", "prepare", "--replace-online", "--json").json
    assert found == {"file": "acme-root-2.json", "version": 2}


def test_a_private_key_is_not_carried_to_the_server(run, data, root_key) -> None:
    done = run("root", "prepare", "--add-key", root_key)
    assert done.code == 2
    assert done.err.startswith(f"error: {root_key} holds a private key")


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("prepare", "--remove-key", "x" * 43), 3, "there is no root key"),
        (("prepare", "--threshold", "9"), 2, "expected a threshold of 1 to 1"),
        (("prepare", "--days", "1095"), 3, "root 2 of acme would change nothing"),
        (("prepare", "--add-key", "gone.pub"), 2, "cannot read gone.pub"),
        (("publish", "gone.json"), 2, "cannot read gone.json"),
        (("rotate", "--replace-online", "--yes"), 2, "expected a root key to sign with"),
        (("rotate", "--json"), 2, "with --json nobody is shown what is signed"),
    ],
)
def test_a_mistake_is_said_and_changes_nothing(run, data, shown, arguments, code, error) -> None:
    before = shown()
    done = run("root", *arguments)
    assert done.code == code
    assert done.err.startswith(f"error: {error}")
    assert shown() == before


def test_a_proposal_of_another_account_is_not_published_here(run, data, root_key) -> None:
    run("root", "prepare", "--replace-online", "--out", "p.json")
    run("root", "sign", "p.json", "--key", root_key, "--yes")
    done = run("root", "publish", "p.json", "--account", "beta")
    assert done.err.startswith("error: the proposal is of the account acme, not beta")


# -- rotate --------------------------------------------------------------------------------------


def test_it_is_done_in_one_go_where_the_key_is_at_hand(run, data, root_key, shown) -> None:
    before = shown()
    run(*TOLD)
    done = run("root", "rotate", "--key", root_key, "--replace-online", "--yes")
    assert (done.code, done.err) == (0, "")
    assert "  follows   root 1, which this key has signed" in done.out
    assert "root 2 of acme is published." in done.out
    assert kids(shown(), "config") != kids(before, "config")
    assert run("status").code == 0
    assert shown()["prepared"] == []


def test_it_asks_before_it_signs(terminal, data, root_key, shown) -> None:
    person = terminal("root", "rotate", "--key", str(root_key), "--replace-online")
    person.until("root 2 of acme will be signed. Type yes to go on:")
    person.type("no\n")
    assert person.end() == 2
    assert shown()["version"] == 1


def test_a_root_key_takes_the_place_of_another(run, data, root_key, shown) -> None:
    done = run("root", "rotate", "--key", root_key, "--root-key", "new.key", "--yes")
    assert done.code == 0
    assert "The new root key is in new.key, encrypted. Move it off this machine" in done.out
    _, key = read_root_key(Path("new.key"), passphrase=PASSPHRASE)
    assert kids(shown()) == [key.public.kid]
    done = run("root", "rotate", "--key", root_key, "--replace-online", "--yes")
    assert "is not a root key of root 2 or 3 of acme" in done.err


def test_several_keys_at_hand_sign_together(run, data, root_key, shown) -> None:
    run("root", "new-key", "bob.key", "--account", "acme")
    both = ("--key", root_key, "--key", "bob.key", "--yes")
    assert run("root", "rotate", *both, "--add-key", "bob.key.pub", "--threshold", 2).code == 0
    one = run("root", "rotate", "--key", root_key, "--replace-online", "--yes")
    assert one.code == 2
    assert one.err.splitlines()[-2].startswith("error: too few root keys are at hand. Missing: 1")
    unclear = run("root", "rotate", *both, "--root-key", "new.key")
    assert unclear.err.splitlines()[0] == "error: 2 root keys sign: which one is to go?"
    assert not Path("new.key").exists()
    gone = kids(shown())[0]
    done = run("root", "rotate", *both, "--root-key", "new.key", "--remove-key", gone)
    assert done.code == 0
    assert gone not in kids(shown())


@pytest.fixture
def online(run: Any) -> str:
    """A data folder whose root key is on the server."""
    run("init", "new", "--account", "acme", "--url", URL, "--online-root")
    return "new"


def test_a_root_key_on_the_server_signs_there(run, online, shown) -> None:
    done = run("root", "rotate", "--replace-online", "--yes", "--data", online)
    assert done.code == 0
    assert "stays, signs now" in done.out
    assert "root 2 of acme is published." in done.out


def test_a_root_key_leaves_the_server(run, online, shown) -> None:
    run(*TOLD, "--data", online)
    done = run("root", "rotate", "--root-key", "acme.key", "--yes", "--data", online)
    assert done.code == 0
    _, key = read_root_key(Path("acme.key"), passphrase=PASSPHRASE)
    found = shown("--data", online)
    assert (kids(found), found["online"], found["warnings"]) == ([key.public.kid], False, [])
    assert run("status", "--data", online).code == 0
    next_one = ("root", "rotate", "--key", "acme.key", "--replace-online", "--yes")
    assert run(*next_one, "--data", online).code == 0


def test_a_new_root_key_is_not_kept_where_the_root_is_refused(run, online) -> None:
    done = run("root", "rotate", "--root-key", "acme.key", "--days", 3, "--yes", "--data", online)
    assert done.code in (2, 3)
    assert "before the configs under it" in done.err
    assert not Path("acme.key").exists()


def test_a_new_root_key_is_not_kept_where_the_last_step_is_refused(run, data, root_key) -> None:
    keys = ("--key", root_key, "--root-key", "new.key")
    done = run("root", "rotate", *keys, "--days", 3, "--yes")
    assert "before the configs under it" in done.err
    assert not Path("new.key").exists()


def test_programs_get_the_versions(run, online) -> None:
    done = run("root", "rotate", "--replace-online", "--yes", "--json", "--data", online)
    assert [each["root_version"] for each in done.json] == [2]


# -- apps ----------------------------------------------------------------------------------------


def test_an_app_follows_a_server_that_runs_on(run, start, data, root_key) -> None:
    start(data)
    state = TrustedState.from_bootstrap(Bootstrap.parse(run("bootstrap").out))
    rotate = ("root", "rotate", "--key", root_key, "--replace-online", "--yes")
    assert [run(*rotate).code, run(*rotate).code] == [0, 0]
    with connected(Common(data=data)) as api:
        assert api.served is not None
    newest = Bootstrap.parse(run("bootstrap").out)
    assert state.missing_roots(newest.config) == range(2, 4)


def test_a_thumbprint_may_begin_with_a_hyphen(run, data, root_key, shown) -> None:
    key = next(key for key in iter(PrivateKey.generate, None) if key.public.kid.startswith("-"))
    write_public(Path("bob.pub"), key.public)
    keys = ("--key", root_key, "--yes")
    assert run("root", "rotate", *keys, "--add-key", "bob.pub").code == 0
    assert key.public.kid in kids(shown())
    assert run("root", "rotate", *keys, "--remove-key", key.public.kid).code == 0
    assert key.public.kid not in kids(shown())
