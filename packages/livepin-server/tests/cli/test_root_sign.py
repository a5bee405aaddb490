"""livepin root new-key and sign: where root keys are, without network, server and database."""

from __future__ import annotations

import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from livepin_server.ceremony.proposal import Proposal
from livepin_server.custody.root_file import read_root_key

PASSPHRASE = "correct horse battery staple"
# What `root sign` must not need; the list is that of the import contract.
ABSENT = (
    "alembic", "granian", "httpx", "litestar", "psycopg", "sqlalchemy", "uvloop",
    "livepin_server.bus", "livepin_server.delivery", "livepin_server.management",
    "livepin_server.services", "livepin_server.storage", "livepin_server.web",
)  # fmt: skip
AIR_GAPPED = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        for each in {ABSENT!r}:
            if name == each or name.startswith(each + "."):
                raise ImportError(name + " is not on this machine")
sys.meta_path.insert(0, Absent())
import socket
def no_network(*arguments):
    raise OSError("there is no network here")
socket.socket.connect = no_network
from livepin_server.cli.app import main
sys.exit(main())
"""


@pytest.fixture
def passphrase(monkeypatch: pytest.MonkeyPatch) -> None:
    """The passphrase, in the environment."""
    monkeypatch.setenv("LIVEPIN_ROOT_PASSPHRASE", PASSPHRASE)


@pytest.fixture
def root_key(template: Path) -> Path:
    """The root key of the account `acme`."""
    return template.parent / "root.key"


@pytest.fixture
def proposal(run: Any, data: Path, passphrase: None) -> Path:
    """A proposal of root 2 of `acme`, with new keys of the server."""
    assert run("root", "prepare", "--replace-online", "--out", "proposal.json").code == 0
    return Path("proposal.json")


def alone(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command where neither web nor database stack, nor a network, is there."""
    return subprocess.run(
        [sys.executable, "-c", AIR_GAPPED, *map(str, arguments)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


# -- new-key -------------------------------------------------------------------------------------


def test_a_key_is_made_with_its_public_half_beside_it(run, passphrase) -> None:
    done = run("root", "new-key", "alice.key", "--account", "acme")
    assert (done.code, done.err) == (0, "")
    account, key = read_root_key(Path("alice.key"), passphrase=PASSPHRASE)
    assert account == "acme"
    assert done.out.splitlines() == [
        f"The root key {key.public.kid} is in alice.key, encrypted.",
        "Its public half is in alice.key.pub: carry that to the server, where it is named by",
        "  livepin root prepare --add-key alice.key.pub --account acme",
    ]
    found = json.loads(Path("alice.key.pub").read_text())
    assert found == key.public.jwk() | {"kid": key.public.kid}
    assert stat.S_IMODE(Path("alice.key").stat().st_mode) == 0o600


def test_programs_get_the_thumbprint(run, passphrase) -> None:
    found = run("root", "new-key", "alice.key", "--account", "acme", "--json").json
    assert set(found) == {"kid", "public", "account"}


@pytest.mark.parametrize("there", ["alice.key", "alice.key.pub"])
def test_no_file_is_overwritten_and_none_is_left(run, passphrase, there) -> None:
    Path(there).write_text("mine")
    done = run("root", "new-key", "alice.key", "--account", "acme")
    assert (done.code, done.err.splitlines()[0]) == (2, f"error: {there} exists already")
    assert [each.name for each in Path.cwd().iterdir()] == [there]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "expected --account NAME"),
        (("--account", "Not A Name"), "expected an account name of a-z, 0-9 and hyphens, at most"),
        (("--account", "acme"), "expected a passphrase for the root key"),
        (("--account", "acme", "--token", "acme"), "expected --pkcs11-module FILE, --token LABEL"),
    ],
)
def test_a_mistake_makes_no_key(shell, arguments, error) -> None:
    done = shell("root", "new-key", "alice.key", *arguments)
    assert done.code == 2
    assert done.err.startswith(f"error: {error}")
    assert not [*Path.cwd().glob("alice*")]


# -- sign ----------------------------------------------------------------------------------------


def test_what_is_signed_is_shown_in_words(run, proposal, root_key, data) -> None:
    shown = run("root", "show", "--json").json
    done = run("root", "sign", proposal, "--key", root_key, "--yes")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    kid = shown["roles"]["root"]["keys"][0]["kid"]
    assert lines[0] == "root 2 of acme"
    assert lines[1] == "  follows   root 1, which this key has signed"
    assert lines[2] == f"            sha256 of that one's payload: {shown['sha256']}"
    assert re.fullmatch(r"  expires   \d{4}-\d\d-\d\d, in 109[45] days", lines[4])
    assert lines[5] == "  to sign   1 of 1 root keys"
    becomes = [line.split(maxsplit=2) for line in lines[7:12]]
    assert [(role, how) for role, _, how in becomes] == [
        ("root", "stays, signs now"), ("config", "comes"), ("config", "goes"),
        ("override", "comes"), ("override", "goes"),
    ]  # fmt: skip
    assert lines[12:] == [
        f"proposal.json is signed by {kid}.",
        "Enough have signed.",
        "Carry it back to where the server is reached, then:",
        "  livepin root publish proposal.json",
    ]
    assert not Proposal.parse(proposal.read_bytes()).missing


def test_it_runs_where_neither_web_nor_database_stack_is(proposal, root_key) -> None:
    done = alone("root", "sign", proposal, "--key", root_key, "--yes")
    assert (done.returncode, done.stderr) == (0, "")
    assert "Enough have signed." in done.stdout
    done = alone("root", "new-key", "alice.key", "--account", "acme")
    assert (done.returncode, done.stderr) == (0, "")
    assert Path("alice.key.pub").exists()


def test_what_needs_a_server_fails_there(proposal) -> None:
    done = alone("root", "show")
    assert done.returncode == 70
    assert "Cannot import module 'livepin_server.cli.root'" in done.stderr


def test_it_is_signed_once_a_person_agrees(terminal, proposal, root_key) -> None:
    person = terminal("root", "sign", str(proposal), "--key", str(root_key))
    person.until("root 2 of acme will be signed. Type yes to go on:")
    person.type("no\n")
    assert person.end() == 2
    assert "nothing was changed" in person.text
    assert Proposal.parse(proposal.read_bytes()).signed_by == ()
    person = terminal("root", "sign", str(proposal), "--key", str(root_key))
    person.until("Type yes to go on:")
    person.type("yes\n")
    assert person.end() == 0
    assert len(Proposal.parse(proposal.read_bytes()).signed_by) == 1


def test_the_passphrase_is_asked_for_once_and_not_shown(
    terminal, proposal, root_key, monkeypatch
) -> None:
    monkeypatch.delenv("LIVEPIN_ROOT_PASSPHRASE")
    person = terminal("root", "sign", str(proposal), "--key", str(root_key), "--yes")
    person.until(f"Passphrase of {root_key}: ")
    person.type(PASSPHRASE + "\n")
    assert person.end() == 0
    assert PASSPHRASE not in person.text


def test_ctrl_c_leaves_the_file_as_it_was(terminal, proposal, root_key) -> None:
    before = proposal.read_bytes()
    person = terminal("root", "sign", str(proposal), "--key", str(root_key))
    person.until("Type yes to go on:")
    person.process.send_signal(signal.SIGINT)
    assert person.end() == 130
    assert proposal.read_bytes() == before


def test_programs_are_told_who_has_signed_and_what_is_missing(run, proposal, root_key) -> None:
    done = run("root", "sign", proposal, "--key", root_key, "--json")
    assert done.code == 2
    assert done.err.splitlines() == [
        "error: with --json nobody is shown what is signed", "hint:  to agree unseen: --yes",
    ]  # fmt: skip
    found = run("root", "sign", proposal, "--key", root_key, "--json", "--yes").json
    assert (found["account"], found["version"]) == ("acme", 2)
    assert len(found["signed_by"]) == 1
    assert found["missing"] == {"old": 0, "new": 0}


def test_warnings_are_shown_before_it_is_signed(run, data, root_key, passphrase) -> None:
    run("root", "new-key", "bob.key", "--account", "acme")
    kid = run("root", "show", "--json").json["roles"]["root"]["keys"][0]["kid"]
    run("root", "prepare", "--add-key", "bob.key.pub", "--remove-key", kid, "--days", 4000,
        "--out", "proposal.json")  # fmt: skip
    done = run("root", "sign", "proposal.json", "--key", root_key, "--yes")
    assert done.err.splitlines() == [
        "warning: it lives 10 years: a key that leaks is trusted for that long",
        "warning: no root key stays: who holds the new ones has the account from now on",
        "warning: the keys of the server stay: if they were stolen, this does not end it",
        "warning: the key that signs goes: root 2 is the last that it signs",
    ]
    assert "Missing: 1 signature by root keys of root 2.\n" in done.out


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("gone.json", "--key", "root.key"), "cannot read gone.json: No such file or directory",
         "livepin root prepare makes such a file"),
        (("proposal.json",), "expected a root key to sign with",
         "--key FILE; or --pkcs11-module FILE --token LABEL --label NAME"),
        (("proposal.json", "--key", "gone.key"), "cannot read gone.key: No such file or directory",
         None),
        (("wrong.json", "--key", "root.key"),
         "wrong.json cannot be signed: expected a proposal of the format livepin-root-proposal/1",
         "make a new one with: livepin root prepare"),
        (("proposal.json", "--key", "root.key", "--passphrase-file", "wrong.json"),
         "root.key does not open with this passphrase", None),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_changes_nothing(
    run, proposal, root_key, arguments, error, hint
) -> None:
    Path("wrong.json").write_text("{}")
    Path("root.key").write_bytes(root_key.read_bytes())
    Path("root.key").chmod(0o600)
    before = proposal.read_bytes()
    done = run("root", "sign", *arguments, "--yes")
    expected = [f"error: {error}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.err.splitlines()) == (2, expected)
    assert proposal.read_bytes() == before


# -- root keys in a token ------------------------------------------------------------------------


@pytest.fixture
def in_token(soft_token, monkeypatch) -> tuple[str, ...]:
    """The options that name a key in a token; the PIN is in the environment."""
    monkeypatch.setenv("LIVEPIN_PKCS11_PIN", soft_token.pin)
    return ("--pkcs11-module", str(soft_token.module), "--token", "acme", "--label", "acme-root")


def test_a_root_key_in_a_token_makes_and_signs_roots(
    run, data, root_key, passphrase, in_token
) -> None:
    done = run("root", "new-key", "hsm", "--account", "acme", *in_token)
    assert (done.code, done.err) == (0, "")
    assert "is in the token acme, as acme-root." in done.out
    assert not Path("hsm").exists()
    run("root", "prepare", "--add-key", "hsm.pub", "--threshold", 2, "--out", "proposal.json")
    first = run("root", "sign", "proposal.json", *in_token, "--yes")
    assert (first.code, first.err.count("error")) == (0, 0)
    assert "Missing: 1 signature by root keys of root 1 and 1 signature by" in first.out
    again = run("root", "sign", "proposal.json", *in_token, "--yes")
    assert "has signed this already" in again.err
    assert run("root", "sign", "proposal.json", "--key", root_key, "--yes").code == 0
    assert run("root", "publish", "proposal.json").code == 0
    assert run("root", "show", "--json").json["roles"]["root"]["threshold"] == 2


def test_a_root_key_of_another_account_in_the_token_signs_nothing(run, proposal, in_token) -> None:
    run("root", "new-key", "hsm", "--account", "beta", *in_token)
    done = run("root", "sign", proposal, *in_token, "--yes")
    assert done.code == 2
    assert done.err.startswith("error: the key acme-root in the token acme is not the root key of")


@pytest.mark.parametrize("source", ["a file", "a question"])
def test_the_pin_comes_from_a_file_or_a_question(
    terminal, in_token, soft_token, monkeypatch, source
) -> None:
    monkeypatch.delenv("LIVEPIN_PKCS11_PIN")
    arguments = ["root", "new-key", "hsm", "--account", "acme", *in_token]
    if source == "a file":
        Path("pin").write_text(f"{soft_token.pin}\n")
        arguments += ["--pin-file", "pin"]
    person = terminal(*arguments)
    if source == "a question":
        person.until("PIN of the token acme: ")
        person.type(soft_token.pin + "\n")
    assert person.end() == 0
    assert soft_token.pin not in person.text
    assert Path("hsm.pub").exists()


def test_without_a_pin_nothing_is_tried(shell, in_token, monkeypatch) -> None:
    monkeypatch.delenv("LIVEPIN_PKCS11_PIN")
    done = shell("root", "new-key", "hsm", "--account", "acme", *in_token)
    assert (done.code, done.err.splitlines()) == (
        2,
        [
            "error: expected the PIN of the token acme",
            "hint:  --pin-file FILE, or the variable LIVEPIN_PKCS11_PIN",
        ],
    )


def test_no_pin_at_the_question_is_refused(terminal, in_token, monkeypatch) -> None:
    monkeypatch.delenv("LIVEPIN_PKCS11_PIN")
    person = terminal("root", "new-key", "hsm", "--account", "acme", *in_token)
    person.until("PIN of the token acme: ")
    person.type("\x04")
    assert person.end() == 2
    assert "expected the PIN of the token" in person.text
