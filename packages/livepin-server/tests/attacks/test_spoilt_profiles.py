"""Somebody on the operator's machine is after the API key of a profile.

Whoever can read its file has it. Whoever can change the profiles has it, too: the URL and the CA
of their own server, and the next command sends the key there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from livepin.testing import RecordingServer, make_authority, make_chain
from livepin_server.cli.app import main
from livepin_server.cli.profiles import Profile, Profiles

KEY = "lpk_000000000000_" + "A" * 43


@pytest.fixture
def profiles(monkeypatch, tmp_path) -> Path:
    """The profiles of somebody whose umask lets a group change what they write."""
    monkeypatch.setenv("LIVEPIN_PROFILES", str(tmp_path / "profiles"))
    Profiles.load().add("production", Profile(url="https://pins.example.com:8444"), key=KEY)
    return tmp_path / "profiles"


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_profile_that_others_can_change_gets_no_key(profiles, tmp_path, capsys, mode) -> None:
    authority = make_authority("Mallory")
    (tmp_path / "ca.pem").write_text(authority.pem)
    with RecordingServer(make_chain("localhost", authority=authority)) as mallory:
        text = f'[profiles.production]\nurl = "https://localhost:{mallory.port}"\n'
        (profiles / "profiles.toml").write_text(f'{text}ca = "{tmp_path / "ca.pem"}"\n')
        (profiles / "profiles.toml").chmod(mode)
        assert main(["domain", "list", "--profile", "production"]) == 2
    assert mallory.received == b""
    assert capsys.readouterr().err.splitlines() == [
        f"error: {profiles / 'profiles.toml'} can be changed by others",
        f"hint:  chmod 600 {profiles / 'profiles.toml'}",
    ]


@pytest.mark.parametrize("mode", [0o640, 0o604])
def test_a_key_that_others_can_read_is_not_used(profiles, capsys, mode) -> None:
    (profiles / "production.key").chmod(mode)
    assert main(["domain", "list", "--profile", "production"]) == 2
    said = capsys.readouterr()
    assert f"error: {profiles / 'production.key'} can be read by others" in said.err
    assert KEY not in said.out + said.err


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_profiles_that_belong_to_somebody_else_get_no_key(profiles, capsys) -> None:
    """In a folder that others can write to, they put a file of their own in its place."""
    os.chown(profiles / "profiles.toml", 12345, 12345)
    assert main(["domain", "list", "--profile", "production"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {profiles / 'profiles.toml'} belongs to another user",
        "hint:  LIVEPIN_PROFILES names another folder",
    ]


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_a_folder_in_which_others_can_swap_files_gets_no_key(profiles, capsys, mode) -> None:
    """Nothing has to be written: the key of one profile under the name of another is enough."""
    profiles.chmod(mode)
    assert main(["domain", "list", "--profile", "production"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        f"error: {profiles} can be changed by others",
        f"hint:  chmod 700 {profiles}",
    ]
