"""The services hold on both databases: each of these tests runs on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(params=["sqlite", "postgresql"])
def data_folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder of this test's own, made on 2026-11-23, for each database in turn."""
    if request.param == "postgresql":
        found: Path = request.getfixturevalue("postgres_folder")
        return found
    data = tmp_path / "data"
    shutil.copytree(request.getfixturevalue("data_template"), data)
    return data
