"""Which server a command is meant for: one answer, or none and an error that names both."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from livepin_server.cli.api import Common, Place
from livepin_server.cli.output import CommandError
from livepin_server.cli.places import Folder, Server, find, find_folder
from livepin_server.cli.profiles import Profile, Profiles

URL = "https://pins.example.com:8444"
PIN = "sha256/" + "A" * 43 + "="


@pytest.fixture(autouse=True)
def _profiles(tmp_path) -> None:
    """A server `far` and a data folder `near`, neither of them the default."""
    Profiles.load().add("far", Profile(url=URL, ca="/ca.pem", account="acme"), key="lpk_far")
    Profiles.load().add("near", Profile(data=str(tmp_path / "near"), account="beta"), key=None)


@pytest.fixture
def environment(monkeypatch):
    """Set variables."""

    def one(**variables: str) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"LIVEPIN_{name}", value)

    return one


def names(place: Server | Folder) -> tuple[str, str | None, str | None]:
    return place.where, place.account, place.profile


def test_a_profile_is_a_server_with_its_key_and_account(tmp_path) -> None:
    far = find(None, "far")
    assert isinstance(far, Server)
    assert (far.url, far.key, far.ca) == (URL, "lpk_far", "/ca.pem")
    assert (far.account, far.profile) == ("acme", "far")
    assert "lpk_far" not in repr(far)
    assert find(None, "near") == Folder(data=tmp_path / "near", account="beta", profile="near")


def test_the_default_is_meant_where_nothing_is_said(tmp_path) -> None:
    assert find(None, None) == Folder(data=Path("livepin-data"))
    Profiles.load().use("far")
    assert names(find(None, None)) == (URL, "acme", None)
    assert names(find(None, "far")) == (URL, "acme", None)
    assert names(find(None, "near")) == (str(tmp_path / "near"), "beta", "near")


def test_what_is_said_wins_over_the_environment_and_that_over_the_default(environment) -> None:
    Profiles.load().use("near")
    environment(PROFILE="far")
    assert names(find(None, None)) == (URL, "acme", "far")
    assert find(Path("there"), None) == Folder(data=Path("there"))
    assert find(None, "near").where.endswith("/near")


def test_each_variable_names_a_place(environment, monkeypatch) -> None:
    Profiles.load().use("near")
    environment(DATA="there")
    assert find(None, None) == Folder(data=Path("there"))
    monkeypatch.delenv("LIVEPIN_DATA")
    environment(URL="https://other.example.com", API_KEY=" lpk_other\n", CA="other.pem")
    found = find(None, None)
    assert isinstance(found, Server)
    assert (found.url, found.key, found.ca) == (
        "https://other.example.com",
        "lpk_other",
        "other.pem",
    )


def test_a_key_in_the_environment_does_not_go_to_the_server_of_a_profile(environment) -> None:
    environment(API_KEY="lpk_other", CA="other.pem")
    found = find(None, "far")
    assert isinstance(found, Server)
    assert (found.key, found.ca) == ("lpk_far", "/ca.pem")


@pytest.mark.parametrize(
    ("variables", "error"),
    [
        ({"PROFILE": "far", "DATA": "x"}, "LIVEPIN_PROFILE and LIVEPIN_DATA are set, and each"),
        ({"PROFILE": "far", "URL": URL}, "LIVEPIN_PROFILE and LIVEPIN_URL are set, and each"),
        ({"URL": URL, "DATA": "x"}, "LIVEPIN_URL and LIVEPIN_DATA are set, and each"),
    ],
)
def test_two_variables_are_a_mistake_that_names_both(run, environment, variables, error) -> None:
    environment(**variables)
    done = run("domain", "list")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        f"error: {error} names a place",
        "hint:  unset all but one, or say --profile NAME or --data FOLDER",
    ]


def test_two_options_are_a_mistake_that_names_both(run) -> None:
    done = run("domain", "list", "--data", "there", "--profile", "far")
    assert (done.code, done.err.splitlines()[0]) == (
        2,
        "error: expected one place, found --data there and --profile far",
    )


def test_the_default_and_a_data_folder_here_are_not_confused(run, template) -> None:
    """A trial in this folder is not a change in production."""
    shutil.copytree(template, "livepin-data")
    Profiles.load().use("far")
    done = run("domain", "add", "a.test", "--pin", PIN)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [
        "error: the profile far is the default, and here is the data folder livepin-data",
        "hint:  which one? --profile far, or --data livepin-data",
    ]
    Profiles.load().add("here", Profile(data=str(Path("livepin-data").resolve())), key=None)
    Profiles.load().use("here")
    assert run("domain", "list").code == 0


def test_who_changes_another_server_than_the_default_sees_which(run, template, tmp_path) -> None:
    shutil.copytree(template, "near")
    done = run("domain", "add", "a.test", "--pin", PIN, "--profile", "near", "--account", "acme")
    assert done.code == 0
    assert done.err.splitlines()[0] == f"profile near: {tmp_path / 'near'}"
    assert done.out.splitlines()[-1].endswith(" --account acme --profile near")
    Profiles.load().use("near")
    assert run("domain", "list", "--account", "acme").err == ""


def test_the_account_of_a_profile_is_meant_unless_one_is_said(run, template) -> None:
    shutil.copytree(template, "near")
    done = run("domain", "list", "--profile", "near")
    assert done.err.splitlines()[1] == "error: there is no account 'beta'"
    assert run("domain", "list", "--profile", "near", "--account", "acme").code == 0


def test_next_commands_find_the_same_place() -> None:
    assert Place().again == ""
    assert Place(data=Path("a b")).again == " --data 'a b'"
    assert Place(profile="far").again == " --profile far"
    assert Common(profile="far", account="acme").again == " --account acme --profile far"


def test_what_comes_after_init_is_meant_for_what_init_made(run) -> None:
    Profiles.load().use("far")
    arguments = ("init", "--account", "acme", "--url", "https://127.0.0.1:8443", "--online-root")
    assert "  livepin serve --data livepin-data\n" in run(*arguments).out


# -- what works on a data folder only ----------------------------------------------------------


def test_a_data_folder_is_found_where_only_one_will_do(environment, tmp_path) -> None:
    assert find_folder(None, None) == Path("livepin-data")
    assert find_folder(Path("there"), None) == Path("there")
    assert find_folder(None, "near") == tmp_path / "near"
    Profiles.load().use("far")
    assert find_folder(None, None) == Path("livepin-data")
    Profiles.load().use("near")
    assert find_folder(None, None) == tmp_path / "near"
    environment(URL=URL, DATA="there")
    assert find_folder(None, None) == Path("there")


def test_a_server_elsewhere_is_no_data_folder(run, environment) -> None:
    environment(PROFILE="far")
    for command in (("serve",), ("upgrade",), ("delivery", "renew-keys")):
        done = run(*command)
        assert (done.code, done.out) == (2, "")
        assert done.err.splitlines() == [
            "error: the profile far is a server elsewhere, and this works on a data folder",
            "hint:  run it on that server, with --data FOLDER",
        ]


def test_a_folder_of_the_default_and_one_here_are_not_confused(template) -> None:
    shutil.copytree(template, "livepin-data")
    Profiles.load().use("near")
    with pytest.raises(CommandError, match="the profile near is the default, and here is"):
        find_folder(None, None)


@pytest.mark.parametrize(
    ("member", "value", "error"),
    [
        ("url", "http://pins.example.com", "expected the URL of the profile far to be an https"),
        ("key", "schlüssel", "the key of the profile far is not an API key"),
        ("key", None, "cannot read {folder}/far.key: No such file or directory"),
    ],
)
def test_a_profile_that_was_spoilt_is_named(run, tmp_path, member, value, error) -> None:
    folder = tmp_path / "profiles"
    if member == "url":
        text = (folder / "profiles.toml").read_text()
        (folder / "profiles.toml").write_text(text.replace(URL, value))
    elif value is None:
        (folder / "far.key").unlink()
    else:
        (folder / "far.key").write_text(value)
    done = run("domain", "list", "--profile", "far")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"error: {error.format(folder=folder)}")


def test_a_refusal_names_the_key_of_the_profile(run, served, monkeypatch) -> None:
    Path("profiles/far.key").write_text("lpk_000000000000_" + "A" * 43)
    text = Path("profiles/profiles.toml").read_text()
    ca = str(served.data / "tls" / "ca.pem")
    Path("profiles/profiles.toml").write_text(text.replace(URL, served.url).replace("/ca.pem", ca))
    done = run("account", "list", "--profile", "far")
    assert done.err.splitlines() == [
        f"profile far: {served.url}",
        "error: the server does not take this API key",
        "hint:  is the key of the profile far right, and neither expired nor revoked?",
    ]
