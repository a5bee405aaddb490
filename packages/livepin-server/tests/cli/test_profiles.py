"""Profiles as they are kept: where, in what form, and what of them is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from livepin_server.cli import profiles
from livepin_server.cli.output import CommandError
from livepin_server.cli.profiles import Profile, Profiles

FOLDER = Path("profiles")
FILE = FOLDER / "profiles.toml"


def write(text: str | bytes) -> None:
    FOLDER.mkdir(0o700)
    FILE.write_bytes(text if isinstance(text, bytes) else text.encode())
    FILE.chmod(0o600)


def test_what_is_kept_is_read_again_as_it_was() -> None:
    first = Profile(url="https://pins.example.com:8444", ca='/a "b"\\c/ü.pem', account="acme")
    Profiles.load().add("production", first, key="lpk_x")
    Profiles.load().add("trial", Profile(data="/srv/livepin-data"), key=None)
    Profiles.load().use("trial")
    assert FILE.read_text() == (
        "# Servers by name. livepin profile writes this file; the API keys are in files beside "
        "it.\n"
        'default = "trial"\n'
        "\n"
        "[profiles.production]\n"
        'url = "https://pins.example.com:8444"\n'
        'ca = "/a \\"b\\"\\\\c/ü.pem"\n'
        'account = "acme"\n'
        "\n"
        "[profiles.trial]\n"
        'data = "/srv/livepin-data"\n'
    )
    found = Profiles.load()
    assert (found.default, found["production"]) == ("trial", first)
    assert found.key("production") == "lpk_x"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("default =", ": Invalid value"),
        (b"\xff", ": it is not text"),
        ('defautl = "a"', ": Object contains unknown field defautl"),
        ("[profiles.a]", ": Expected url or data - at profiles.a"),
        ('[profiles.a]\nurl = "https://a"\ndata = "/a"', ": Expected url or data - at profiles.a"),
        ('[profiles.a]\nurl = "https://a"\nkey = "lpk_x"', ": Object contains unknown field key"),
        ('[profiles.a]\nurl = 1', ": Expected str | null, got int"),
        ('[profiles."../a"]\nurl = "https://a"', ": Expected str matching regex"),
        ('[profiles.a]\nurl = "https://a"\naccount = "A"', ": Expected str matching regex"),
        ('default = "b"', ": default: there is no profile 'b'"),
        ("#" * (256 * 1024 + 1), " to hold at most 256 KiB"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_right_is_refused(run, data, monkeypatch, text, error) -> None:
    write(text)
    monkeypatch.delenv("LIVEPIN_DATA")
    done = run("domain", "list")
    assert (done.code, done.out) == (2, "")
    assert f"{FILE.absolute()}{error}" in done.err.splitlines()[0]
    assert run("domain", "list", "--data", data).code == 0  # it is not asked for


def test_a_file_that_cannot_be_read_is_named(run) -> None:
    FILE.mkdir(parents=True)
    assert "profiles.toml: Is a directory" in run("profile", "list").err


ENVIRONMENT = {
    "XDG_CONFIG_HOME": "/xdg",
    "APPDATA": "/Roaming",
    "HOME": "/home/someone",
    "USERPROFILE": "/home/someone",
}


@pytest.mark.parametrize(
    ("platform", "unset", "said", "expected"),
    [
        ("linux", "", {}, "/xdg/livepin"),
        ("linux", "XDG_CONFIG_HOME", {}, "/home/someone/.config/livepin"),
        ("linux", "", {"XDG_CONFIG_HOME": "relative"}, "/home/someone/.config/livepin"),
        ("darwin", "", {}, "/home/someone/Library/Application Support/livepin"),
        ("win32", "", {}, "/Roaming/livepin"),
        ("win32", "APPDATA", {}, "/home/someone/AppData/Roaming/livepin"),
        ("linux", "", {"LIVEPIN_PROFILES": "/elsewhere"}, "/elsewhere"),
    ],
)
def test_they_are_where_programs_of_the_system_keep_such_files(
    monkeypatch, platform, unset, said, expected
) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.setattr(sys, "platform", platform)
    environment = {n: v for n, v in (ENVIRONMENT | said).items() if n != unset}
    assert profiles._folder(environment) == Path(expected)


def test_a_name_that_is_not_there_says_so() -> None:
    with pytest.raises(CommandError, match="there is no profile 'a'") as caught:
        Profiles.load()["a"]
    assert caught.value.hint == "there is no profile yet"
