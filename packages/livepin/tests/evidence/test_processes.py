"""What processes find out about themselves: tampered with for real, and honest ones."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of itself")

FATAL = {"injected_code", "replaced_sdk_function", "changed_code"}
Told = dict[str, Any]


@pytest.fixture(scope="session")
def told(run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Told:
    """What a process found after each thing that it did to itself."""
    found: Told = run("tampered.py", tmp_path_factory.mktemp("libraries"))
    return found


@pytest.mark.parametrize(
    ("attack", "expected"),
    [
        ("from_memory", "injected_code: memfd:agent"),
        ("from_deleted_file", "injected_code: deleted.so"),
        ("by_name", "injected_code: frida-gadget.so"),
        ("named_thread", "injected_code: thread gum-js-loop"),
        ("writable_code", "anonymous_code: 2 mappings"),
        ("traced_thread", "tracing: sys.settrace"),
        ("breakpoints", "tracing: libssl.so.3 holds breakpoints"),
    ],
)
def test_tampering_is_found(told: Told, attack: str, expected: str) -> None:
    library, _, rest = expected.partition(".so.3")
    (found,) = told[attack]
    assert found.startswith(library)
    assert found.endswith(rest)


@pytest.mark.parametrize(("attack", "library"), [("jump", "libcrypto"), ("libc", "libc.so")])
def test_changed_code_of_a_library_is_found(told: Told, attack: str, library: str) -> None:
    (found,) = told[attack]
    assert found.startswith(f"changed_code: {library}")
    assert " at 0x" in found


def test_code_that_was_put_back_stays_reported(told: Told) -> None:
    changed, trace = told["put_back"]["saw"]
    assert changed.startswith("changed_code: libcrypto")
    assert trace.startswith("tracing: libcrypto")
    assert told["put_back"]["came_later"] == [trace]


@pytest.mark.parametrize("honest", ["known_file", "from_updated_file"])
def test_a_library_that_was_updated_under_the_process_is_none(told: Told, honest: str) -> None:
    assert told[honest] == []


def test_code_that_a_compiler_maps_twice_is_no_library(told: Told) -> None:
    assert told["compiled_twice"] == ["anonymous_code: 1 mappings"]


def test_an_honest_app_reports_nothing_that_is_refused(run: Callable[..., Any]) -> None:
    """Many libraries, code made at run time, adapters loaded late, a company's proxy and CA."""
    (found,) = run(
        "clean.py", HTTPS_PROXY="http://proxy.corp:3128", SSL_CERT_FILE="/etc/ssl/corp.pem"
    )
    signals = {each["signal"]: each["detail"] for each in found["found"]}
    assert not FATAL & signals.keys(), found
    assert (signals["proxy"], signals["ca_override"]) == ("HTTPS_PROXY", "SSL_CERT_FILE")
    assert "corp" not in str(found)
    assert found["unchecked"] == []


def test_preloaded_libraries_and_variables_are_found_by_name_alone(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    from _ctypes import __file__ as library

    (tmp_path / "preloaded.so").write_bytes(Path(library).read_bytes())
    found = run(
        "looking.py",
        LD_PRELOAD=str(tmp_path / "preloaded.so"),
        https_proxy="http://proxy.corp:3128",
        SSLKEYLOGFILE=str(tmp_path / "keys"),
    )
    assert found == [
        "preloaded_library: LD_PRELOAD",
        "proxy: https_proxy",
        "key_log: SSLKEYLOGFILE",
    ]


def test_a_process_that_traces_this_one_is_found() -> None:
    program = (
        "import sys; from livepin.evidence import debugging as d; print(*d.tracer(), flush=True)\n"
    )
    program += "sys.stdin.readline(); print(*d.tracer(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as traced:
        assert traced.stdin is not None
        assert traced.stdout is not None
        assert traced.stdout.readline() == "\n"
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.ptrace(0x4206, traced.pid, None, None):  # PTRACE_SEIZE, which stops nothing
            traced.stdin.close()
            pytest.skip("this system allows no tracing")
        traced.stdin.write("\n")
        traced.stdin.flush()
        assert traced.stdout.readline() == "debugger: another process traces this one\n"
