"""livepin profile: servers get names, and their keys are kept well."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from livepin_server.cli.profiles import Profiles

PIN = "sha256/" + "A" * 43 + "="
FOLDER = Path("profiles")


@pytest.fixture
def operator_key(served) -> str:
    """The key of the running server."""
    return (served.data / "operator.key").read_text().strip()


@pytest.fixture
def production(run, served) -> None:
    """The running server as the profile `production`."""
    ca, key = served.data / "tls" / "ca.pem", served.data / "operator.key"
    done = run("profile", "add", "production", "--url", served.url, "--ca", ca, "--key-file", key)
    assert done.code == 0


@pytest.fixture
def trial(run, template) -> None:
    """A data folder as the profile `trial`."""
    assert run("profile", "add", "trial", "--data", template).code == 0


# -- add ---------------------------------------------------------------------------------------


def test_a_server_gets_a_name_and_says_what_the_key_may_do(run, served, key_of) -> None:
    Path("key").write_text(key_of("operator", "acme") + "\n")
    ca = served.data / "tls" / "ca.pem"
    done = run("profile", "add", "stage", "--url", served.url, "--ca", ca, "--key-file", "key",
               "--account", "acme")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    first, second, *rest = done.out.splitlines()
    assert first == f"stage is {served.url}"
    assert second.startswith("the key 'operator ")
    assert second.endswith("' has the role operator: it may change domains and pins, in acme")
    assert rest == ["Next:", "  livepin status --profile stage", "  livepin profile use stage"]
    found = run("profile", "show", "stage", "--json").json
    assert found == {
        "name": "stage",
        "url": served.url,
        "ca": str(ca),
        "data": None,
        "account": "acme",
        "key_file": str(Path.cwd() / "profiles" / "stage.key"),
        "default": False,
    }


def test_a_key_for_something_else_says_only_its_role(run, served, key_of) -> None:
    Path("key").write_text(key_of("pentest"))
    ca = served.data / "tls" / "ca.pem"
    done = run("profile", "add", "p", "--url", served.url, "--ca", ca, "--key-file", "key")
    assert done.out.splitlines()[1].endswith("' has the role pentest")


def test_a_key_comes_from_standard_input(shell, served, operator_key, tmp_path) -> None:
    ca = served.data / "tls" / "ca.pem"
    command = [sys.executable, "-m", "livepin", "profile", "add", "p", "--url", served.url,
               "--ca", str(ca), "--key-file", "-", "--json"]  # fmt: skip
    done = subprocess.run(
        command, input=operator_key, capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert '"role": "admin"' in done.stdout
    assert operator_key not in done.stdout
    assert shell("domain", "list", "--profile", "p").code == 0


def test_a_key_is_asked_for_and_not_shown(terminal, served, operator_key) -> None:
    ca = served.data / "tls" / "ca.pem"
    person = terminal("profile", "add", "p", "--url", served.url, "--ca", str(ca))
    person.until("API key: ")
    person.type(operator_key + "\n")
    assert person.end() == 0
    assert operator_key not in person.text
    assert Profiles.load().key("p") == operator_key


def test_nothing_is_typed_and_nothing_is_kept(terminal, served) -> None:
    ca = served.data / "tls" / "ca.pem"
    person = terminal("profile", "add", "p", "--url", served.url, "--ca", str(ca))
    person.until("API key: ")
    person.type("\x04")
    assert person.end() == 2
    assert "expected an API key" in person.text
    assert not FOLDER.exists()


def test_what_is_kept_is_its_owners_alone(run, production) -> None:
    assert stat.S_IMODE(FOLDER.stat().st_mode) == 0o700
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in FOLDER.iterdir()}
    assert modes == {"production.key": 0o600, "profiles.toml": 0o600}


def test_a_key_is_never_shown(run, production, operator_key) -> None:
    for arguments in (("list",), ("show", "production"), ("use", "production")):
        done = run("profile", *arguments)
        assert done.code == 0
        assert "lpk_" not in done.out + done.err
        assert operator_key not in (FOLDER / "profiles.toml").read_text()
    assert "lpk_" not in repr(Profiles.load())


@pytest.mark.parametrize(
    ("arguments", "code", "error", "hint"),
    [
        (("Stage",), 2, "expected a profile name of a-z, 0-9 and hyphens, at most 63, found "
         "'Stage'", "such as production"),
        (("p", "--data", ".", "--account", "A"), 2, "expected an account name of a-z, 0-9 and "
         "hyphens, at most 63, found 'A'", "such as acme"),
        (("p",), 2, "expected --url URL or --data FOLDER", "livepin profile add --help"),
        (("p", "--url", "https://a.test", "--data", "."), 2, "expected --url URL or --data FOLDER",
         "livepin profile add --help"),
        (("p", "--data", ".", "--ca", "x"), 2, "--ca and --key-file go with --url",
         "a data folder has its own"),
        (("p", "--data", "."), 2, "{here} is not a Livepin data folder",
         "--data FOLDER or LIVEPIN_DATA names one; livepin init makes one"),
        (("p", "--url", "http://a.test"), 2, "expected --url to be an https URL, found "
         "'http://a.test'", "such as https://127.0.0.1:8444"),
        (("p", "--url", "https://a.test"), 2, "expected an API key",
         "--key-file FILE, or --key-file - for standard input"),
        (("p", "--url", "https://a.test", "--key-file", "nowhere"), 2, "cannot read nowhere: No "
         "such file or directory", "is it the right file?"),
        (("p", "--url", "https://a.test", "--key-file", "empty"), 2, "the key is not an API key",
         "a key looks like lpk_..."),
        (("p", "--url", "{url}", "--key-file", "wrong", "--ca", "empty"), 2,
         "cannot read the CA file {here}/empty: no PEM certificates",
         "it is the file tls/ca.pem of the server's data folder"),
        (("p", "--url", "{url}", "--key-file", "wrong", "--ca", "{ca}"), 3,
         "the server does not take this API key",
         "is the key right, and neither expired nor revoked?"),
        (("p", "--url", "{url}", "--key-file", "{key}", "--ca", "{ca}", "--account", "acmee"), 2,
         "there is no account 'acmee'", "did you mean acme?"),
        (("p", "--url", "https://127.0.0.1:1", "--key-file", "wrong"), 4,
         "the server at https://127.0.0.1:1 does not answer: [Errno 111] Connection refused",
         "is it running? start it with: livepin serve"),
    ],
)  # fmt: skip
def test_a_mistake_keeps_nothing(run, served, tmp_path, arguments, code, error, hint) -> None:
    Path("empty").touch()
    Path("wrong").write_text("lpk_000000000000_" + "A" * 43)
    known = {"here": tmp_path, "url": served.url, "ca": served.data / "tls" / "ca.pem",
             "key": served.data / "operator.key"}  # fmt: skip
    done = run("profile", "add", *(each.format(**known) for each in arguments))
    expected = [f"error: {error.format(**known)}", *([] if hint is None else [f"hint:  {hint}"])]
    assert (done.code, done.out, done.err.splitlines()) == (code, "", expected)
    assert not FOLDER.exists()


def test_a_name_is_not_given_twice(run, production, served) -> None:
    done = run("profile", "add", "production", "--data", served.data)
    assert done.code == 2
    assert done.err.splitlines() == [
        f"error: there is a profile production already: {served.url}",
        "hint:  choose another name, or first: livepin profile remove production",
    ]


def test_a_server_that_is_off_can_be_kept_unchecked(run) -> None:
    Path("key").write_text("lpk_x")
    done = run("profile", "add", "p", "--url", "https://127.0.0.1:1", "--key-file", "key",
               "--unchecked")  # fmt: skip
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1] == "Next:"
    assert run("status", "--profile", "p").code == 4


def test_a_profile_that_cannot_be_written_leaves_no_key(run, served) -> None:
    FOLDER.mkdir(0o700)
    (FOLDER / "profiles.toml").symlink_to("nowhere/profiles.toml")
    ca, key = served.data / "tls" / "ca.pem", served.data / "operator.key"
    done = run("profile", "add", "p", "--url", served.url, "--ca", ca, "--key-file", key)
    assert done.code == 2
    assert done.err.startswith("error: cannot write ")
    assert [each.name for each in FOLDER.iterdir()] == ["profiles.toml"]


def test_a_file_that_is_a_link_stays_one(run, trial) -> None:
    """As those do who keep their settings under version control."""
    Path("kept").mkdir()
    (FOLDER / "profiles.toml").rename("kept/profiles.toml")
    (FOLDER / "profiles.toml").symlink_to(Path("kept/profiles.toml").absolute())
    assert run("profile", "use", "trial").code == 0
    assert (FOLDER / "profiles.toml").is_symlink()
    assert 'default = "trial"' in Path("kept/profiles.toml").read_text()


def test_what_cannot_be_written_down_is_refused(run, template) -> None:
    Path("new\nline").symlink_to(template)
    link = Path("new\nline")
    (folder := Path("a\x7fb")).mkdir()
    for each in (*template.iterdir(),):
        (folder / each.name).symlink_to(each)
    done = run("profile", "add", "p", "--data", folder)
    assert done.code == 2
    assert done.err.startswith("error: expected characters that can be printed, found ")
    assert link.is_symlink()
    assert not [*FOLDER.iterdir()]


def test_a_key_that_was_left_behind_is_named(run, served) -> None:
    """As by a command that was killed in between."""
    FOLDER.mkdir(0o700)
    (FOLDER / "p.key").touch(0o600)
    ca, key = served.data / "tls" / "ca.pem", served.data / "operator.key"
    done = run("profile", "add", "p", "--url", served.url, "--ca", ca, "--key-file", key)
    assert (done.code, done.err.splitlines()) == (
        2,
        [
            f"error: {FOLDER.absolute() / 'p.key'} exists already",
            "hint:  no profile has this key: move it away, or delete it",
        ],
    )


def test_a_folder_that_cannot_be_made_is_named(run, template, monkeypatch) -> None:
    Path("link").symlink_to("nowhere/profiles")
    monkeypatch.setenv("LIVEPIN_PROFILES", "link")
    done = run("profile", "add", "p", "--data", template)
    assert (done.code, done.err) == (2, "error: cannot make link: File exists\n")


# -- list, show, use, remove -------------------------------------------------------------------


def test_the_profiles_are_listed_used_and_forgotten(run, production, trial, served, template):
    assert run("profile", "list").out.splitlines()[0].split() == [
        "profile", "place", "account", "default",
    ]  # fmt: skip
    done = run("profile", "use", "trial")
    assert done.out == f"commands are meant for trial now: {template}\n"
    rows = run("profile", "list").out.splitlines()[1:]
    assert [row.split() for row in rows] == [
        ["production", served.url, "-", "no"],
        ["trial", str(template), "-", "yes"],
    ]
    assert [each["name"] for each in run("profile", "list", "--json").json] == [
        "production",
        "trial",
    ]
    shown = run("profile", "show", "production").out.splitlines()
    assert shown[0] == "production"
    assert f"  url       {served.url}" in shown
    assert "  default   no" in shown
    assert "  default   yes" in run("profile", "show", "trial").out
    assert run("profile", "use", "--none").out == "no profile is the default\n"
    assert Profiles.load().default is None
    run("profile", "use", "production")
    done = run("profile", "remove", "production")
    assert done.out.splitlines() == [
        f"production is forgotten; {served.url} was not changed",
        "Its API key was deleted here, and is valid there until it is revoked.",
    ]
    assert run("profile", "remove", "trial").out.count("\n") == 1
    assert [each.name for each in FOLDER.iterdir()] == ["profiles.toml"]
    assert "no profiles yet" in run("profile", "list").out


def test_a_wrong_name_suggests_the_nearest(run, production) -> None:
    for arguments in (
        ("profile", "use", "produktion"),
        ("profile", "show", "produktion"),
        ("profile", "remove", "produktion"),
        ("domain", "list", "--profile", "produktion"),
    ):
        done = run(*arguments)
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines() == [
            "error: there is no profile 'produktion'",
            "hint:  did you mean production?",
        ]


@pytest.mark.parametrize("arguments", [(), ("p", "--none")])
def test_use_takes_a_name_or_none(run, arguments) -> None:
    done = run("profile", "use", *arguments)
    assert (done.code, done.err.splitlines()[0]) == (2, "error: expected NAME or --none")
