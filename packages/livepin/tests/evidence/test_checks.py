"""The small checks: each finds its own, and says where it cannot look."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
import tracemalloc
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from livepin.evidence import debugging, environment, hooks, memory, text, threads, tls_functions
from livepin.evidence.finding import Finding, UnavailableError
from livepin.evidence.memory import PAGE, Map, Mapping, Memory

NOWHERE = "/proc/nowhere"
linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of itself")


def texts(found: Any) -> list[str]:
    return [str(each) for each in found]


# -- debuggers and tracing -----------------------------------------------------------------------


@pytest.fixture
def untraced() -> Iterator[None]:
    """Take away what measures coverage, in this thread and those to come."""
    before, others = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    yield
    threading.settrace(others)  # type: ignore[arg-type]
    sys.settrace(before)


def test_debuggers_in_the_process_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert texts(debugging.python_debuggers()) == []
    monkeypatch.setitem(sys.modules, "debugpy", types.ModuleType("debugpy"))
    assert texts(debugging.python_debuggers()) == ["debugger: debugpy"]


def test_tracing_of_this_thread_and_of_those_to_come_is_found(untraced: None) -> None:
    sys.settrace(lambda *_: None)
    assert "tracing: sys.settrace" in texts(debugging.tracing())
    sys.settrace(None)
    threading.settrace(lambda *_: None)
    assert "tracing: sys.settrace" in texts(debugging.tracing())


def test_profiling_is_found() -> None:
    before = sys.getprofile()
    sys.setprofile(lambda *_: None)
    try:
        assert "tracing: sys.setprofile" in texts(debugging.tracing())
    finally:
        sys.setprofile(before)


def test_monitoring_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.version_info < (3, 12):  # PEP 669 came with 3.12
        told = types.SimpleNamespace(get_tool=lambda tool: "spy" if tool == 4 else None)
        monkeypatch.setattr(sys, "monitoring", told, raising=False)
        assert "tracing: sys.monitoring spy" in texts(debugging.tracing())
        return
    sys.monitoring.use_tool_id(4, "spy")
    try:
        assert "tracing: sys.monitoring spy" in texts(debugging.tracing())
    finally:
        sys.monitoring.free_tool_id(4)


# -- imports and functions -----------------------------------------------------------------------


class Finder:
    @staticmethod
    def find_spec(*_: object) -> None:
        return None


def test_a_foreign_finder_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = texts(hooks.import_hooks())  # that of pytest
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    (found,) = set(texts(hooks.import_hooks())) - set(usual)
    assert found.startswith("import_hook: ")
    assert found.endswith("test_checks.Finder")


def test_finders_that_packaging_leaves_are_usual(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = texts(hooks.import_hooks())
    left = type("DistutilsMetaFinder", (Finder,), {"__module__": "_distutils_hack"})
    monkeypatch.setattr(sys, "meta_path", [left(), *sys.meta_path])
    assert texts(hooks.import_hooks()) == usual


def test_a_replaced_import_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.__import__", lambda *given: __import__(*given))
    assert "import_hook: builtins.__import__" in texts(hooks.import_hooks())


def test_ssl_and_socket_are_python_s_own() -> None:
    assert texts(tls_functions.replaced()) == []


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [
        ("ssl", "SSLContext", type("SSLContext", (ssl.SSLContext,), {})),
        ("ssl", "SSLContext", None),
        ("ssl", "create_default_context", lambda: None),
        ("socket", "create_connection", lambda: None),
        ("ssl", "_create_default_https_context", ssl._create_unverified_context),
        ("ssl.SSLContext", "wrap_socket", lambda *_: None),
        ("ssl.SSLContext", "load_verify_locations", lambda *_: None),
        ("ssl.SSLContext", "verify_mode", property(lambda _: 0)),
        ("ssl.SSLObject", "_create", classmethod(lambda *_: None)),
        ("socket.socket", "connect", lambda *_: None),
    ],
)
def test_each_that_is_replaced_is_found(
    monkeypatch: pytest.MonkeyPatch, where: str, name: str, value: object
) -> None:
    module, _, kind = where.partition(".")
    target = {"ssl": ssl, "socket": socket}[module]
    monkeypatch.setattr(getattr(target, kind) if kind else target, name, value, raising=False)
    assert f"replaced_ssl_function: {where}.{name}" in texts(tls_functions.replaced())


# -- the environment -----------------------------------------------------------------------------


def test_values_of_variables_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "all_proxy", "SSLKEYLOGFILE", "DYLD_INSERT_LIBRARIES"):
        monkeypatch.setenv(name, "/home/alice/secret")
    monkeypatch.setenv("CURL_CA_BUNDLE", "")  # means nothing
    found = texts((*environment.variables(), *environment.preloaded()))
    assert {
        "ca_override: REQUESTS_CA_BUNDLE", "proxy: all_proxy", "key_log: SSLKEYLOGFILE",
        "preloaded_library: DYLD_INSERT_LIBRARIES",
    } <= set(found)  # fmt: skip
    assert not any("alice" in each or "CURL" in each for each in found)


def test_the_system_s_list_of_preloads_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "preload").write_text("/lib/spy.so\n")
    monkeypatch.setattr(environment, "_PRELOAD_FILE", str(tmp_path / "preload"))
    assert f"preloaded_library: {tmp_path / 'preload'}" in texts(environment.preloaded())


# -- memory --------------------------------------------------------------------------------------


def test_a_line_of_a_map_is_read() -> None:
    line = b"7f00-7f01 rwxp 00001000 fe:00 42        /opt/a b/libx.so (deleted)"
    found = Mapping.parse(line)
    assert (found.start, found.end, found.offset) == (0x7F00, 0x7F01, 0x1000)
    assert (found.file, found.name) == (b"fe:00 42", "libx.so")
    assert found.writable
    assert found.is_file
    assert found.is_deleted
    assert not Mapping.parse(b"7f00-7f01 r-xp 00000000 00:00 0").is_file


@linux
def test_what_is_executed_is_mapped() -> None:
    names = {each.name for each in Map().executable}
    assert any(name.startswith("libcrypto") for name in names)
    assert "[vdso]" not in names


@linux
def test_where_nothing_is_mapped_nothing_is_read() -> None:
    with Memory() as found:
        assert found.read(PAGE, 16) == b""
    assert Map().begin_of(b"ff:ff 1") == 0


@linux
@pytest.mark.parametrize("path", ["_MAPS", "_MEMORY", "_PAGEMAP"])
def test_a_system_that_does_not_tell_is_no_finding(
    monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def look() -> None:
        found = Map()
        with Memory() as readable:
            list(readable.written(found.executable[0]))

    look()
    monkeypatch.setattr(memory, path, NOWHERE)
    with pytest.raises(UnavailableError, match=NOWHERE):
        look()


@linux
def test_a_map_without_bound_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_LONGEST", 100)
    with pytest.raises(UnavailableError, match="over 100 bytes"):
        Map()


@linux
def test_a_map_takes_little_memory_and_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tracemalloc.start()
    try:
        found = Map().executable
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()
    monkeypatch.setattr(memory, "_PIECE", 1000)
    assert [each.start for each in found] == [each.start for each in Map().executable]


@linux
def test_pages_that_cannot_be_read_are_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_PAGEMAP", "/proc/self/task")  # a folder
    with Memory() as readable, pytest.raises(UnavailableError, match="directory"):
        list(readable.written(Map().executable[0]))


def test_threads_and_tracers_need_linux(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_TASKS", NOWHERE)
    monkeypatch.setattr(debugging, "_STATUS", NOWHERE)
    with pytest.raises(UnavailableError, match=NOWHERE):
        list(threads.agents())
    with pytest.raises(UnavailableError, match=NOWHERE):
        list(debugging.tracer())


@linux
def test_a_thread_that_has_ended_has_no_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert threads._name(2**22 + 1) == ""


# -- code against files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "file", "machine", "expected"),
    [
        (b"\xcc\x02\x03\x04", b"\x01\x02\x03\x04", "x86_64", True),
        (b"\xe9\x02\x03\x04", b"\x01\x02\x03\x04", "x86_64", False),
        (b"\xcc\x02\x03\x05", b"\x01\x02\x03\x04", "x86_64", False),
        (b"\xa0\x00\x20\xd4", b"\x01\x02\x03\x04", "aarch64", True),
        (b"\xa0\x00\x20\x14", b"\x01\x02\x03\x04", "aarch64", False),
        (b"\xcc\x02\x03\x04", b"\x01\x02\x03\x04", "riscv64", False),
    ],
)
def test_breakpoints_are_told_from_other_code(
    now: bytes, file: bytes, machine: str, expected: bool
) -> None:
    assert text.only_breakpoints(now, file, machine) is expected


class Written(Memory):
    """Memory in which a page was written to."""

    def __init__(self, page: int, content: bytes) -> None:
        super().__init__()
        self._page, self._content = page, content

    def written(self, mapping: Mapping) -> Iterator[int]:
        yield from [self._page] if mapping.start <= self._page < mapping.end else []

    def read(self, start: int, length: int) -> bytes:
        return self._content if start == self._page else super().read(start, length)


@linux
def test_a_library_that_is_another_file_now_is_not_compared(tmp_path: Path) -> None:
    """After an update: the file under the name is not the one that was loaded."""
    (mapping,) = [each for each in Map().executable if each.name.startswith("libssl")][:1]
    copy = tmp_path / "libssl.so.3"
    copy.write_bytes(bytes(mapping.offset + mapping.end - mapping.start))
    moved = Mapping(mapping.start, mapping.end, False, mapping.offset, b"", str(copy))
    with Written(mapping.start, b"\xe9" * PAGE) as memory_, pytest.raises(UnavailableError):
        list(text.changed([moved], memory_))
    gone = Mapping(mapping.start, mapping.end, False, 0, b"", "/gone/libssl.so.3 (deleted)")
    with Written(mapping.start, b"\xe9" * PAGE) as memory_, pytest.raises(UnavailableError):
        list(text.changed([gone], memory_))
    with Written(mapping.start, b"\xe9" * PAGE) as memory_:
        (found,) = text.changed([mapping], memory_)
    assert found.signal == "changed_code"


def test_what_is_told_is_short_and_printable() -> None:
    found = Finding.of("import_hook", "evil\x1b[2J\u202e" + "x" * 500)
    assert found.detail.startswith("evil?[2J?x")
    assert len(found.detail) == 200
