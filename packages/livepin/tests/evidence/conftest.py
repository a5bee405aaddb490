"""Processes that look at themselves, and a small app as a wheel, as people build them."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
OURS = "PATH", "HOME", "PYTHON", "VIRTUAL_ENV", "TMPDIR"
ABOUT = "shop-1.4.dist-info"
FILES = {
    "shop/__init__.py": b"from . import cart\n",
    "shop/cart.py": b"def total(): return 3\n",
    "shop/data/prices.json": b"{}",
    "shop_cli.py": b"def main(): pass\n",
    "shop-1.4.data/purelib/shop/extra.py": b"",
    "shop-1.4.data/scripts/shop-run": b"#!python\nimport shop\n",
    "shop-1.4.data/data/share/shop/logo.txt": b"shop",
    f"{ABOUT}/METADATA": b"Metadata-Version: 2.1\nName: shop\nVersion: 1.4\n",
    f"{ABOUT}/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{ABOUT}/entry_points.txt": b"[console_scripts]\nshop = shop_cli:main\n",
    f"{ABOUT}/licenses/LICENSE": b"do as you like\n",
}
MEASURED = {
    "shop/__init__.py", "shop/cart.py", "shop/data/prices.json", "shop/extra.py", "shop_cli.py",
    f"{ABOUT}/METADATA", f"{ABOUT}/entry_points.txt",
}  # fmt: skip


def record(files: dict[str, bytes]) -> bytes:
    """Return the RECORD of a wheel."""
    lines = []
    for path, data in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{path},sha256={digest},{len(data)}\n")
    return ("".join(lines) + f"{ABOUT}/RECORD,,\n").encode()


@pytest.fixture(scope="session")
def run() -> Callable[..., Any]:
    """Run a program beside this file, with nothing in its environment that means anything."""

    def start(name: str, *arguments: str | Path, **environment: str) -> Any:
        inherited = {key: value for key, value in os.environ.items() if key.startswith(OURS)}
        done = subprocess.run(
            [sys.executable, HERE / name, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            env=inherited | environment,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return start


@pytest.fixture(scope="session")
def make_wheel(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make a wheel of some files, with what else is to be written into it."""

    def make(
        files: dict[str, bytes] | None = None,
        *,
        more: Callable[[zipfile.ZipFile], object] = lambda _: None,
    ) -> Path:
        found = FILES if files is None else files
        path = tmp_path_factory.mktemp("dist") / "shop-1.4-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in found.items():
                archive.writestr(name, data)
            archive.writestr(f"{ABOUT}/RECORD", record(found))
            more(archive)
        return path

    return make


@pytest.fixture(scope="session")
def wheel(make_wheel: Callable[..., Path]) -> Path:
    """The wheel of the app."""
    return make_wheel()
