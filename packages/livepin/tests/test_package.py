"""The package: what it offers, and how little an import of it brings along."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path

import livepin
import pytest

FOLDER = Path(livepin.__file__).parent
CORE = [
    *(FOLDER / f"{name}.py" for name in (
        "trust", "bootstrap", "jose", "certificates", "pins", "hostnames", "jsontext", "errors",
    )),
    *sorted((FOLDER / "documents").glob("*.py")),
]  # fmt: skip
IO = {
    "socket", "ssl", "os", "pathlib", "asyncio", "http", "urllib", "time", "random", "secrets",
    "logging", "sqlite3", "subprocess", "threading", "io", "tempfile", "select", "selectors",
}  # fmt: skip
OTHERS = {
    "httpx", "requests", "urllib3", "aiohttp", "grpc", "websockets", "litestar", "sqlalchemy",
    "msgspec", "livepin_server", "certifi", "idna", "anyio", "starlette", "fastapi", "flask",
    "django", "asgiref",
}  # fmt: skip


def loaded_by(code: str) -> set[str]:
    """Return the modules that `code` loads in a new interpreter, beyond what that loads itself."""
    program = (
        "import sys, json; before = set(sys.modules)\n"
        f"{code}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", program],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(json.loads(done.stdout))


def test_importing_the_package_loads_its_errors_and_nothing_else() -> None:
    found = loaded_by("import livepin")
    assert {name for name in found if name.startswith("livepin")} == {"livepin", "livepin.errors"}
    assert not {name.partition(".")[0] for name in found} & (IO | OTHERS | {"cryptography"})


def test_the_vocabulary_of_pins_loads_no_tls_client() -> None:
    found = loaded_by("import livepin; livepin.Pin, livepin.PinSet")
    assert "livepin.pins" in found
    assert not {name.partition(".")[0] for name in found} & ({"ssl", "socket"} | OTHERS)
    assert "livepin.client" not in found


def test_the_rules_of_trust_load_no_tls_client_and_no_server() -> None:
    found = loaded_by("import livepin.trust, livepin.bootstrap")
    assert not {name.partition(".")[0] for name in found} & ({"ssl", "asyncio"} | OTHERS)
    assert "livepin.client" not in found


def test_the_client_loads_no_http_library_and_no_server() -> None:
    found = loaded_by("import livepin; livepin.Client")
    assert "livepin.client" in found
    assert not {name.partition(".")[0] for name in found} & OTHERS


@pytest.mark.parametrize("name", ["check", "asgi", "wsgi"])
def test_a_check_of_tokens_loads_no_tls_and_no_framework(name: str) -> None:
    made = f"livepin.middleware.{name}; from livepin.middleware.check import TokenCheck"
    found = loaded_by(f"import {made}; TokenCheck(audience='a', jwks='https://localhost/')")
    assert f"livepin.middleware.{name}" in found
    assert not {name.partition(".")[0] for name in found} & ({"ssl", "http", "asyncio"} | OTHERS)
    assert "livepin.client" not in found


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.name)
def test_the_core_imports_nothing_that_does_input_or_output_or_reads_a_clock(path: Path) -> None:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.Attribute):
            assert node.attr not in ("now", "utcnow", "today"), f"{path.name} reads the clock"
    assert not found & IO


def test_every_name_that_the_package_offers_is_there() -> None:
    assert sorted(livepin.__all__) == list(livepin.__all__)
    for name in livepin.__all__:
        assert getattr(livepin, name).__name__ == name


def test_a_name_that_the_package_does_not_offer_is_missing() -> None:
    with pytest.raises(AttributeError, match="'livepin' has no attribute 'client_context'"):
        livepin.client_context  # noqa: B018 - the access is the test


def test_the_version_is_that_of_the_distribution() -> None:
    assert livepin.__version__ == version("livepin")


def test_the_library_needs_cryptography_and_nothing_else() -> None:
    needed = [each for each in requires("livepin") or [] if "extra ==" not in each]
    assert [each.partition(">")[0] for each in needed] == ["cryptography"]


def test_the_package_is_typed() -> None:
    assert (FOLDER / "py.typed").is_file()
