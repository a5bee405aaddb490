"""Wheels, made as builders make them."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path

INFO = "shop-1.4.dist-info"
FILES = {
    "shop/__init__.py": "from .core import price\n",
    "shop/core.py": "def price() -> int:\n    return 3\n",
    "shop/data/prices.json": "{}\n",
    "shop/web/__init__.py": "",
    "shop_tools.py": "",
    "shop-1.4.data/purelib/shop/extra.py": "EXTRA = True\n",
    "shop-1.4.data/scripts/shop-admin": "#!python\nprint('admin')\n",
    "shop-1.4.data/data/share/shop.txt": "shared\n",
    f"{INFO}/METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1.4\n",
    f"{INFO}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFO}/entry_points.txt": "[console_scripts]\nshop = shop:price\n",
}


def make_wheel(folder: Path, files: dict[str, str] = FILES) -> Path:
    """Write a wheel of these files, with its RECORD."""
    rows = [_row(path, text.encode()) for path, text in files.items()]
    record = "".join([*rows, f"{INFO}/RECORD,,\n"])
    path = folder / "shop-1.4-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**files, f"{INFO}/RECORD": record}.items():
            archive.writestr(name, text)
    return path


def _row(path: str, content: bytes) -> str:
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
    return f"{path},sha256={digest},{len(content)}\n"
