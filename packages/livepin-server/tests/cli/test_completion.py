"""livepin completion: real shells complete what the commands take."""

from __future__ import annotations

import functools
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

CASES = [
    ("livepin dom", {"domain"}),
    ("livepin domain set-m", {"set-mode"}),
    ("livepin profile ", {"add", "list", "show", "use", "remove"}),
    ("livepin domain list --acc", {"--account"}),
    ("livepin export an", {"android"}),
    ("livepin domain add a.test --pin-level ", {"leaf", "intermediate", "root"}),
]


@functools.cache
def made(shell: str) -> str:
    """Return the script of a shell; to make one takes seconds."""
    command = [sys.executable, "-m", "livepin", "completion", shell]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture
def script(tmp_path):
    """Write the script of a shell; return its path."""

    def one(shell: str) -> Path:
        path = tmp_path / "completions" / "_livepin"
        path.parent.mkdir()
        path.write_text(made(shell))
        return path

    return one


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_bash_completes(counterpart, script, line, expected) -> None:
    ask = f"""
        source {script("bash")}
        COMP_LINE='{line}' COMP_POINT={len(line)}
        read -ra COMP_WORDS <<< "$COMP_LINE"
        [[ $COMP_LINE == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        _livepin
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [counterpart("bash"), "--norc", "-c", ask], capture_output=True, text=True, check=True
    )
    assert {each.strip() for each in done.stdout.splitlines()} == expected
    assert done.stderr == ""


@pytest.mark.parametrize(("line", "expected"), CASES)
def test_fish_completes(counterpart, script, tmp_path, line, expected) -> None:
    ask = f"source {script('fish')}; complete --do-complete '{line}'"
    done = subprocess.run(
        [counterpart("fish"), "--no-config", "-c", ask],
        capture_output=True, text=True, check=True, env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    found = {each.partition("\t")[0] for each in done.stdout.splitlines()}
    assert {each for each in found if not each.endswith("/")} == expected  # folders may follow


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("livepin dom\t", "livepin domain "),
        ("livepin domain set-m\t", "livepin domain set-mode "),
        ("livepin export an\t", "livepin export android "),
        ("livepin domain list --acc\t", "livepin domain list --account "),
    ],
)
def test_zsh_completes(counterpart, script, tmp_path, typed, completed) -> None:
    folder = script("zsh").parent
    (tmp_path / ".zshrc").write_text(
        f"fpath=({folder} $fpath); autoload -Uz compinit; compinit -u -D; PS1='READY> '\n"
        "unsetopt PROMPT_SP; "
        "show() { print -r -- \"<$BUFFER>\"; BUFFER=; zle accept-line }; zle -N show; "
        "bindkey '^T' show\n"
    )  # fmt: skip
    here, there = pty.openpty()
    process = subprocess.Popen(
        [counterpart("zsh"), "-i"], stdin=there, stdout=there, stderr=there,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "TERM": "dumb",
             "ZDOTDIR": str(tmp_path)},
        start_new_session=True,
    )  # fmt: skip
    os.close(there)
    try:
        _until(here, "READY> ")
        os.write(here, typed.encode())
        os.write(here, b"\x14")  # show the line
        assert f"<{completed}>" in _until(here, ">\r\n")
    finally:
        process.kill()
        process.wait()
        os.close(here)


def _until(terminal: int, expected: str) -> str:
    text, deadline = "", time.monotonic() + 60
    while expected not in text:
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 65536).decode()
    return text


def test_a_shell_that_is_not_known_suggests_the_nearest(run) -> None:
    done = run("completion", "bsh")
    assert (done.code, done.out) == (2, "")
    assert 'Did you mean "bash"?' in done.err
